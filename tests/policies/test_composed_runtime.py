"""A composed policy on the robot's side: what may be turned, how fast, and what is refused."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from policies.composed_runtime import ComposedPolicy, ComposedRunner, WeightRamp, load_policy, new_runner
from policies.contract import read_contract, read_policy
from policies.runtime import OnnxPolicy, PolicyRunner
from robot_rl.errors import ConfigurationError, InvalidInput, PolicyError
from robot_rl.robot import RobotState


@pytest.fixture
def policy(composed_file, walk):
    return ComposedPolicy.load(composed_file, robot=walk.spec, layout=walk.layout)


def standing(spec):
    return RobotState(
        stamp=0.0,
        joint_position=spec.home.copy(),
        joint_velocity=np.zeros(spec.joints),
        joint_effort=np.zeros(spec.joints),
        orientation_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity=np.zeros(3),
        linear_acceleration=np.array([0.0, 0.0, 9.81]),
    )


def test_weights_and_temperature_begin_as_the_file_says(policy):
    assert policy.weights.tolist() == [0.2, 0.5, 0.3]
    assert policy.temperature == pytest.approx(0.2)
    assert policy.skills == ("skill 0", "skill 1", "skill 2")


def test_turning_the_weights_turns_the_answer(policy):
    observation = np.zeros(87, dtype=np.float32)
    found = []
    for weights in np.eye(3):
        policy.weights = weights
        found.append(policy.act(observation).action)
    assert np.abs(found[0] - found[1]).max() > 0.05
    policy.weights = np.eye(3)[0]
    np.testing.assert_array_equal(policy.act(observation).action, found[0])


def test_the_same_noise_gives_the_same_sample_and_other_noise_another(policy):
    rng = np.random.default_rng(0)
    observation, noise = rng.standard_normal(87), rng.standard_normal((2, 48, 13))
    first, again, other = (policy.answer(observation, noise[k]).action for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    plain = policy.answer(observation)
    np.testing.assert_array_equal(plain.action, policy.answer(observation).action)


def test_one_row_and_many_get_the_same_answer(policy):
    rows = np.random.default_rng(0).standard_normal((7, 87)).astype(np.float32)
    many = policy.answer(rows)
    for index, row in enumerate(rows):
        for ours, theirs in zip(policy.answer(row), many, strict=True):
            np.testing.assert_allclose(ours, theirs[index], rtol=1e-4, atol=1e-5)


BAD_WEIGHTS = {
    "negative": [-0.1, 0.6, 0.5], "not one in sum": [0.5, 0.5, 0.5], "NaN": [np.nan, 0.5, 0.5], "too few": [0.5, 0.5],
    "infinite": [np.inf, 0.0, 0.0], "too many": [0.25, 0.25, 0.25, 0.25],
    "a single number": 1.0, "words": ["a", "b", "c"],
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_WEIGHTS)
def test_bad_weights_are_refused_and_the_old_ones_stay(policy, what):
    runner = ComposedRunner(policy)
    for target in (policy, runner):
        with pytest.raises(InvalidInput, match="weights"):
            target.weights = BAD_WEIGHTS[what]
    assert policy.weights.tolist() == [0.2, 0.5, 0.3]


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf, None, "hot", [1.0]])
def test_a_bad_temperature_is_refused(policy, temperature):
    with pytest.raises(InvalidInput, match="temperature must be finite and above 0"):
        policy.temperature = temperature


def test_bad_observations_and_noise_are_named(policy):
    broken = np.zeros(87)
    broken[3] = np.nan
    with pytest.raises(InvalidInput, match=policy.contract.observation.labels[3].split("[")[0]):
        policy.answer(broken)
    with pytest.raises(InvalidInput, match=r"noise: expected finite numbers of shape \(48, 13\)"):
        policy.answer(np.zeros(87), np.zeros((48, 12)))


def test_a_composed_file_is_no_plain_one_and_a_plain_one_no_composed_one(composed_file, policy_file):
    with pytest.raises(PolicyError, match=r"composed policy of the skills skill 0, skill 1, skill 2.*ComposedPolicy"):
        OnnxPolicy.load(composed_file)
    with pytest.raises(PolicyError, match="plain policy"):
        ComposedPolicy.load(policy_file)
    with pytest.raises(PolicyError, match="a plain policy has no weights to turn; run it with PolicyRunner"):
        ComposedRunner(OnnxPolicy.load(policy_file))
    assert isinstance(load_policy(policy_file), OnnxPolicy)
    assert isinstance(load_policy(composed_file), ComposedPolicy)
    assert type(new_runner(load_policy(policy_file))) is PolicyRunner
    assert type(new_runner(load_policy(composed_file))) is ComposedRunner


def test_a_reader_from_before_composition_would_refuse_the_format(composed_file, policy_file):
    assert read_contract(policy_file).to_dict()["format"] == 1
    assert "composition" not in read_contract(policy_file).to_dict()
    assert read_contract(composed_file).to_dict()["format"] == 2


def test_a_contract_reads_back_as_itself(composed_file):
    contract = read_contract(composed_file)
    assert type(contract).from_json(contract.to_json()) == contract


def test_another_robot_is_refused_by_name(composed_file, robot_spec):
    with pytest.raises(PolicyError, match="kp of 'FL_hip_joint'"):
        ComposedPolicy.load(composed_file, robot=robot_spec("go2", {"joints.FL_hip_joint.kp": 41}))


def test_weights_travel_on_a_straight_line_at_the_limited_rate():
    ramp = WeightRamp(np.array([1.0, 0.0, 0.0]), rate=0.5)
    ramp.ask([0.0, 0.25, 0.75])
    seen = [ramp.advance(0.02) for _ in range(110)]
    steps = np.diff([[1.0, 0.0, 0.0], *seen], axis=0)
    assert np.abs(steps).max() <= 0.5 * 0.02 + 1e-12
    np.testing.assert_allclose(np.sum(seen, axis=1), 1.0)
    assert np.min(seen) >= 0.0
    np.testing.assert_allclose(seen[49], [0.5, 0.125, 0.375])  # one second of the two
    assert seen[-1].tolist() == [0.0, 0.25, 0.75]


def test_a_rate_of_zero_is_refused_and_an_infinite_one_jumps():
    with pytest.raises(ConfigurationError, match="above 0"):
        WeightRamp(np.array([1.0, 0.0]), 0.0)
    ramp = WeightRamp(np.array([1.0, 0.0]), np.inf)
    ramp.ask([0.0, 1.0])
    assert ramp.advance(0.02).tolist() == [0.0, 1.0]


def test_a_runner_goes_from_one_skill_to_another_without_a_jump_of_the_command(policy, walk):
    runner = ComposedRunner(policy, rate=1.0)
    runner.reset(np.zeros(3))
    state = standing(walk.spec)
    runner.weights = [0.0, 0.0, 1.0]
    seen = []
    for _ in range(60):
        runner.step(state)
        seen.append(runner.weights)
    assert np.abs(np.diff(seen, axis=0)).max() <= 1.0 / walk.spec.control_rate + 1e-12
    assert runner.weights.tolist() == [0.0, 0.0, 1.0]
    assert runner.answer is not None
    assert abs(runner.answer.disagreement) < 1e-4
    policy.weights = [0.0, 0.0, 1.0]
    np.testing.assert_array_equal(policy.act(runner.observation).action, runner.action.astype(np.float32))


def test_it_runs_without_torch_and_without_the_onnx_package(composed_file):
    script = f"""
import sys
from policies.composed_runtime import load_policy
import numpy as np
policy = load_policy({str(composed_file)!r})
policy.answer(np.zeros(87))
print(sorted({{"torch", "onnx", "mujoco", "gymnasium"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_edited_golden_vector_is_found_out(composed_file, policy):
    golden = policy.contract.golden
    worse = replace(golden, action=tuple(tuple(-x for x in row) for row in golden.action))
    with pytest.raises(PolicyError, match="golden vectors: action of row 0"):
        ComposedPolicy(read_policy(composed_file)[0], replace(policy.contract, golden=worse))
