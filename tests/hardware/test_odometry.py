"""The base's motion of a robot that does not tell it, over real topics."""

from collections.abc import Callable

import numpy as np

from hardware.ros_robot import RosRobot, RosSettings
from robot_rl.make import make_robot
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import load_robot

GO2 = load_robot("go2")


def crouch(robot, seed):
    """The base's motion while the robot crouches and stands up again, (ticks, 6)."""
    rows = [robot.reset(Start(GO2.home), np.random.default_rng(seed))]
    for tick in range(50):
        depth = 0.15 * np.sin(0.02 * tick * 2.0 * np.pi)
        rows.append(robot.step(JointCommand(GO2.home + np.tile([0.0, depth, -2.0 * depth], 4))))
    return np.array([[*state.base_position, *state.base_linear_velocity] for state in rows])


def test_without_an_odometry_topic_the_legs_tell_height_and_velocity(twin: Callable[..., object]) -> None:
    twin("go2", "--lock-step", "--no-odometry")
    robot = RosRobot(GO2, RosSettings(lock_step=True))
    try:
        assert robot.receiver.estimates
        assert {"base_position", "base_linear_velocity"} <= robot.provides
        found, again = crouch(robot, 0), crouch(robot, 0)
    finally:
        robot.close()
    assert np.array_equal(found, again)  # nothing is left of the episode before
    truth = crouch(make_robot("go2", noise=False), 0)
    assert np.abs(found[:, 2] - truth[:, 2]).max() < 0.02
    assert np.sqrt(((found - truth)[:, 3:] ** 2).sum(-1).mean()) < 0.08


def test_an_odometry_topic_is_preferred(lock_step_twin: RosRobot) -> None:
    assert not lock_step_twin.receiver.estimates
    assert "base_linear_velocity" in lock_step_twin.provides
