"""The task `reach`: three places of an arm's tip, and what they are worth to whom."""

import numpy as np
import pytest

from robot_rl.env import RobotEnv
from robot_rl.errors import ConfigurationError, MissingSensor
from robot_rl.evaluation import evaluate
from robot_rl.robot import RobotState
from robot_rl.spec_file import load_robot
from robot_rl.task import Step
from robot_rl.tasks.reach import PLACES, Reach, ReachSettings
from sim.mujoco_robot import MujocoRobot

ARM = load_robot("planar_arm")
LINKS = np.array([0.22, 0.20, 0.14])
REACH = {prefer: Reach(ARM, ReachSettings(prefer=prefer)) for prefer in ("left", "right", "both")}


def tip(joints):
    headings = np.cumsum(joints)
    return np.array([LINKS @ np.cos(headings), LINKS @ np.sin(headings)])


def at(joints, velocity=0.0):
    state = RobotState(0.0, np.asarray(joints, dtype=float), np.full(3, velocity))
    return Step(state, np.zeros(3), np.zeros(3), state, np.zeros(0))


def joints_at(place):
    """Inverse kinematics by brute force and Newton: joints whose tip is at a place."""
    rng = np.random.default_rng(0)
    joints = min(rng.uniform(ARM.lower, ARM.upper, (5000, 3)), key=lambda q: np.linalg.norm(tip(q) - place))
    for _ in range(50):
        jacobian = np.stack([(tip(joints + 1e-6 * e) - tip(joints)) / 1e-6 for e in np.eye(3)], axis=1)
        joints = joints + np.linalg.pinv(jacobian) @ (place - tip(joints))
    assert np.linalg.norm(tip(joints) - place) < 1e-9
    assert (joints >= ARM.lower).all()
    assert (joints <= ARM.upper).all()
    return joints


def test_the_rewards_of_the_two_sides_average_to_that_of_both_in_any_state():
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = at(rng.uniform(ARM.lower, ARM.upper), rng.uniform(-3, 3))
        left, right, both = (float(REACH[prefer].reward(step)[0]) for prefer in ("left", "right", "both"))
        assert both == pytest.approx(0.5 * (left + right), abs=1e-12)


@pytest.mark.parametrize("name", PLACES)
def test_the_action_reaches_every_place_and_the_episode_ends_there(name):
    task = REACH["both"]
    joints = joints_at(task.place(name))
    assert (np.abs(joints - ARM.home) <= ARM.action.scale).all()
    assert float(task.distance(at(joints).after, name)) == pytest.approx(0.0, abs=1e-9)
    for away, there in ((0.98, True), (1.02, False)):
        beside = at(joints_at(task.place(name) + np.array([away * task.near, 0.0])))
        assert bool(task.terminated(beside.after, np.zeros(0))) is there
        assert float(task.terms[name].value(beside)) == there
        assert not any(task.terms[other].value(beside) for other in PLACES if other != name)


def test_each_side_likes_its_own_place_best_and_their_mean_the_one_between():
    worth = {
        prefer: {name: float(task.reward(at(joints_at(task.place(name))))[0]) for name in PLACES}
        for prefer, task in REACH.items()
    }
    best = {prefer: max(worths, key=worths.get) for prefer, worths in worth.items()}
    assert best == {"left": "left", "right": "right", "both": "middle"}
    for prefer, task in REACH.items():
        ends = {f"{name}_m": np.array([0.5, 0.0 if name == best[prefer] else 0.3]) for name in PLACES}
        assert task.success(ends) is True
        assert task.success(ends | {f"{best[prefer]}_m": np.array([0.0, 0.2])}) is False
        assert task.summarise(ends)[f"final_{best[prefer]}_m"] == 0.0


def test_time_and_fast_joints_cost_in_reaching():
    still, fast = (float(REACH["left"].reward(at(ARM.home, velocity))[0]) for velocity in (0.0, 2.0))
    assert fast < still < 0.0


def test_arriving_is_a_success_of_an_evaluation_although_it_ends_the_episode():
    env = RobotEnv(MujocoRobot(ARM, noise=False), REACH["both"])
    joints = joints_at(REACH["both"].place("middle"))
    found = evaluate(env, lambda observation: (joints - ARM.home) / ARM.action.scale, 5)
    assert [episode.ended_early for episode in found.episodes] == [True] * 5
    assert found.successes == sum(episode.figures["final_middle_m"] < 0.05 for episode in found.episodes) > 0


def test_reaching_starts_anywhere_with_the_object_out_of_the_way():
    robot, rng = MujocoRobot(ARM, noise=False), np.random.default_rng(0)
    joints = []
    for _ in range(100):
        state = robot.reset(REACH["left"].sample_start(rng), rng)
        joints.append(state.joint_position)
        x, y, _ = state.objects["cylinder"].position
        assert np.hypot(x, y) > LINKS.sum() + 0.05  # the arm's length and the object's radius
    assert np.ptp(joints, axis=0).min() > 1.7 * REACH["left"].settings.start_noise


def test_an_unknown_side_and_an_arm_without_kinematics_are_refused_by_name(robot_spec, removed):
    with pytest.raises(ConfigurationError, match="prefer must be one of left, right, both, got up"):
        ReachSettings(prefer="up")
    with pytest.raises(MissingSensor, match=r"'planar_arm'.*'legs'"):
        Reach(robot_spec("planar_arm", {"legs": removed}))
