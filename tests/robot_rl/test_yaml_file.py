"""YAML files of every kind: a key given twice is refused, since YAML itself would keep the last of the two."""

import pytest

from robot_rl.commands.config_files import read_file
from robot_rl.commands.launching import robot_with_safety
from robot_rl.errors import ConfigurationError
from robot_rl.make import load_randomization
from robot_rl.spec_file import BUILTIN, load_robot
from robot_rl.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("", None),
        ("a: 1\nb: {a: 2, c: [{a: 3}, {a: 4}]}", {"a": 1, "b": {"a": 2, "c": [{"a": 3}, {"a": 4}]}}),
        ("{1: a, '1': b}", {1: "a", "1": "b"}),
        ("one: &same {a: 1}\ntwo: *same", {"one": {"a": 1}, "two": {"a": 1}}),
        (
            "base: &base {a: 1, b: 1}\nchanged: {<<: *base, a: 2}",
            {"base": {"a": 1, "b": 1}, "changed": {"a": 2, "b": 1}},
        ),
        ("x: &x {a: 1}\ny: &y {b: 2}\nz:\n  <<: *x\n  <<: *y", {"x": {"a": 1}, "y": {"b": 2}, "z": {"a": 1, "b": 2}}),
    ],
)
def test_what_gives_every_key_once_is_read(content, value):
    assert read_yaml(content, "file x.yaml") == value


def test_a_list_that_holds_itself_is_read_too():
    read = read_yaml("&a [*a]", "file x.yaml")
    assert read[0] is read


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: 2\na: 3", "file x.yaml: key 'a' is given twice, in lines 1 and 3"),
        ("hip: {kp: 30, kp: 300}", "file x.yaml: key 'kp' is given twice, in line 1, columns 7 and 15"),
        ("a: [1, {b: {c: 1, d: 2, c: 3}}]", "file x.yaml: key 'c' is given twice, in line 1, columns 13 and 25"),
        ("x: {<<: {a: 1, a: 2}}", "file x.yaml: key 'a' is given twice, in line 1, columns 10 and 16"),
        ("a: {b: 1\nb: 2", "file x.yaml is not valid YAML: "),
        ("a: 2024-13-01", "file x.yaml is not valid YAML: month must be in 1..12"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(content, said):
    with pytest.raises(ConfigurationError) as caught:
        read_yaml(content, "file x.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def read_robot(path):
    path.write_text((BUILTIN / "go2.yaml").read_text().replace("kp: 40,", "kp: 40, kp: 400,", 1))
    load_robot(path)


def read_configuration(path):
    path.write_text("trainer: {total_steps: 10}\ntrainer: {total_steps: 20}")
    read_file(path)


def read_randomization(path):
    path.write_text("mass: [0.9, 1.1]\nfriction: [0.5, 1.2]\nmass: [0.5, 0.6]")
    load_randomization(path, load_robot("go2"))


def read_conditions(path):
    # Imported here: this command needs what draws its page.
    from robot_rl.commands.transfer import run

    path.write_text("delayed: {kept: 0.9}\ndelayed: {kept: 0.1}")
    run(["go2-walk", "--conditions", str(path)])


def read_safety(path):
    path.write_text("{tilt_limit: 0.5, tilt_limit: 1.5}")
    robot_with_safety("go2", str(path))


@pytest.mark.parametrize("read", [read_robot, read_configuration, read_randomization, read_conditions, read_safety])
def test_a_key_given_twice_is_refused_in_every_kind_of_file(read, tmp_path):
    path = tmp_path / "twice.yaml"
    with pytest.raises(ConfigurationError, match=r"twice\.yaml: key '\w+' is given twice, in line"):
        read(path)
    assert [one.name for one in tmp_path.iterdir()] == ["twice.yaml"]
