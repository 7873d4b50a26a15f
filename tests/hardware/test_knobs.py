"""The knobs of a composed policy, without ROS."""


import numpy as np
import pytest

from hardware.knobs import Knobs
from policies.composed_runtime import ComposedPolicy, ComposedRunner
from policies.runtime import OnnxPolicy, PolicyRunner
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import InvalidInput, PolicyError, UnknownName


@pytest.fixture(scope="module")
def file(compose):
    return compose("walk", "turn")


def runner_of(file, rate=0.5):
    return ComposedRunner(ComposedPolicy.load(file), rate)


def test_weights_are_there_at_once_before_the_policy_runs_and_follow_slowly_after(file):
    runner = runner_of(file)
    knobs = Knobs(runner)
    knobs.begin("weights", [1.0, 0.0])
    assert runner.weights.tolist() == [1.0, 0.0]
    knobs.set("weights", [0.0, 1.0])
    assert runner.weights.tolist() == [1.0, 0.0]
    assert knobs.now("weights") == [0.0, 1.0]


def test_what_is_no_value_of_a_knob_is_refused_and_nothing_changes(file):
    knobs = Knobs(runner_of(file))
    for weights in ([0.5, 0.6], [1.0], [-0.5, 1.5], [np.nan, 1.0]):
        with pytest.raises(InvalidInput, match="weights"):
            knobs.set("weights", weights)
    with pytest.raises(InvalidInput, match="temperature"):
        knobs.set("temperature", 0.0)
    with pytest.raises(UnknownName, match="weights, temperature"):
        knobs.set("gain", 1.0)
    assert knobs.now("weights") == [0.5, 0.5]


def test_a_plain_policy_has_no_knobs():
    knobs = Knobs(PolicyRunner(OnnxPolicy.load(shipped_policies()["go2-walk"])))
    assert not knobs.composed
    with pytest.raises(UnknownName, match="plain one"):
        knobs.checked("weights", [1.0])


def test_another_file_of_the_same_skills_goes_on_with_the_knobs_where_they_are(file):
    runner = runner_of(file, rate=0.25)
    knobs = Knobs(runner)
    knobs.begin("weights", [0.9, 0.1])
    knobs.set("weights", [0.2, 0.8])
    knobs.set("temperature", 0.7)
    following = knobs.follow(ComposedPolicy.load(file), "next.onnx")
    assert isinstance(following, ComposedRunner)
    assert following is not runner
    assert following.weights.tolist() == [0.9, 0.1]
    assert following.target.tolist() == [0.2, 0.8]
    assert following.rate == 0.25
    assert following.temperature == pytest.approx(0.7)


def test_a_file_of_other_skills_does_not_take_over(file, compose):
    knobs = Knobs(runner_of(file))
    with pytest.raises(PolicyError, match=r"other.onnx: its skills are \(walk, hop\), the one that runs has \(walk, t"):
        knobs.follow(ComposedPolicy.load(compose("walk", "hop")), "other.onnx")
    with pytest.raises(PolicyError, match="its skills are none, it is a plain policy"):
        knobs.follow(OnnxPolicy.load(shipped_policies()["go2-walk"]), "plain.onnx")
