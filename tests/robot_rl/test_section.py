"""Reading a mapping key by key: what is accepted, and what each refusal says."""

import math

import pytest

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section


def refusal(action) -> str:
    with pytest.raises(ConfigurationError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("values", [None, 3, "text", [1, 2]])
def test_only_a_mapping_is_a_section(values):
    message = refusal(lambda: Section(values, "robot.yaml.joints"))
    assert message.startswith("robot.yaml.joints: ")
    assert type(values).__name__ in message


@pytest.mark.parametrize("key", [1, True, None, 1.5])
def test_a_key_that_is_no_text_is_refused_with_the_way_to_write_it(key):
    message = refusal(lambda: Section({"a": 1, key: 2}, "robot.yaml.joints"))
    assert message.startswith(f"robot.yaml.joints: expected text as keys, got {type(key).__name__} {key}")
    assert "quotes" in message


def test_numbers_come_as_floats_whatever_the_file_wrote():
    section = Section({"whole": 3, "real": 2.5}, "f")
    assert isinstance(section.number("whole"), float)
    assert section.number("real") == 2.5
    assert section.number("absent", 4) == 4.0


@pytest.mark.parametrize("value", ["3", "1e3", True, None, math.nan, math.inf, [1.0], {}])
def test_what_is_not_a_finite_number_is_refused_with_its_key_and_value(value):
    message = refusal(lambda: Section({"kp": value}, "f.yaml.joints.hip").number("kp"))
    assert message.startswith("f.yaml.joints.hip.kp: expected a finite number")
    assert repr(value) in message


def test_bounds_say_what_is_allowed():
    section = Section({"rate": 0.0, "noise": -0.1}, "f")
    assert "above 0, got 0" in refusal(lambda: section.number("rate", above=0.0))
    assert "at least 0, got -0.1" in refusal(lambda: section.number("noise", at_least=0.0))


def test_an_absent_optional_number_is_none_and_a_given_one_is_checked():
    section = Section({"limit": "no"}, "f")
    assert section.optional_number("absent") is None
    assert "f.limit" in refusal(lambda: section.optional_number("limit"))


def test_lists_of_numbers_have_the_right_length_and_content():
    section = Section({"good": [1, 2.0], "short": [1], "text": [1, "2"], "nan": [1, math.nan]}, "f")
    assert section.numbers("good", 2) == (1.0, 2.0)
    for key in ("short", "text", "nan"):
        assert f"f.{key}: expected a list of 2 finite numbers" in refusal(lambda key=key: section.numbers(key, 2))


@pytest.mark.parametrize("value", ["", 3, None, ["a"]])
def test_text_is_a_string_with_something_in_it(value):
    assert "f.name: expected text" in refusal(lambda: Section({"name": value}, "f").text("name"))


def test_a_choice_lists_what_it_allows():
    message = refusal(lambda: Section({"cone": "round"}, "f.simulation").choice("cone", ("pyramidal", "elliptic")))
    assert "'round'" in message
    assert "f.simulation.cone" in message
    assert "allowed: pyramidal, elliptic" in message


def test_a_bare_off_in_yaml_still_means_off():
    assert Section({"tilt": False}, "f").choice("tilt", ("off", "stop")) == "off"


@pytest.mark.parametrize("value", ["FL_foot", 3, [1, 2], {"a": 1}])
def test_lists_of_names_are_lists_of_strings(value):
    assert "f.feet: expected a list of names" in refusal(lambda: Section({"feet": value}, "f").texts("feet"))


def test_a_missing_key_is_named_with_its_section():
    message = refusal(lambda: Section({"b": 1}, "f.yaml.joints.hip").value("a"))
    assert "f.yaml.joints.hip" in message
    assert "missing key 'a'" in message


def test_nested_sections_carry_the_dotted_key():
    inner = Section({"joints": {"hip": {"kp": "x"}}}, "f.yaml").section("joints").section("hip")
    assert "f.yaml.joints.hip.kp" in refusal(lambda: inner.number("kp"))


def test_an_empty_nested_section_may_be_left_blank():
    assert Section({"objects": None}, "f").section("objects").names() == []


def test_finish_refuses_a_key_that_nobody_asked_for_and_lists_the_known_ones():
    section = Section({"kp": 1, "kdd": 2}, "f.joint")
    section.number("kp")
    section.number("kd", 0.0)
    with pytest.raises(UnknownName) as caught:
        section.finish()
    assert "'kdd'" in str(caught.value)
    assert "f.joint" in str(caught.value)
    assert "allowed: kp, kd" in str(caught.value)


def test_finish_accepts_names_that_were_read_as_keys():
    section = Section({"hip": {}, "knee": {}}, "f")
    assert section.names() == ["hip", "knee"]
    section.finish()


def test_a_long_value_is_shortened_in_the_message():
    message = refusal(lambda: Section({"feet": "x" * 500}, "f").texts("feet"))
    assert len(message) < 150
