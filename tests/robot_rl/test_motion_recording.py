"""What is logged of a robot that follows commands: moments, ages, limits, and stops."""

import numpy as np
import pytest

from robot_rl.errors import RobotFault
from robot_rl.motion_recording import record_motion
from robot_rl.spec_file import load_robot, parse_robot
from sim.mujoco_robot import MujocoRobot
from sim.randomization import Randomization


@pytest.fixture(scope="module")
def spec():
    return load_robot("planar_arm")


def commands(spec, count=60):
    wave = 0.2 * np.sin(0.1 * np.arange(count))
    return spec.home + wave[:, None] * np.ones(spec.joints)


def test_moments_are_those_of_the_control_ticks(spec):
    log = record_motion(MujocoRobot(spec, noise=False), commands(spec), "held", np.random.default_rng(0))
    np.testing.assert_allclose(log.sent, spec.control_dt * np.arange(60))
    np.testing.assert_allclose(log.time, spec.control_dt * np.arange(61), atol=1e-9)
    np.testing.assert_allclose(log.command, commands(spec))
    assert log.age == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))


def test_late_readings_count_from_when_they_were_measured(spec):
    delayed = Randomization({"observation_delay": {"delay": 0.007}}, spec)
    robot = MujocoRobot(spec, noise=False, randomization=delayed)
    log = record_motion(robot, commands(spec), "held", np.random.default_rng(0))
    assert log.age[0] == pytest.approx(0.007, abs=1e-4)
    np.testing.assert_allclose(log.time[1:], spec.control_dt * np.arange(1, 61) - 0.007, atol=1e-9)


def test_a_reading_that_was_lost_is_not_logged_twice(spec):
    lossy = Randomization({"observation_delay": {"delay": 0.001, "drop": 0.4}}, spec)
    robot = MujocoRobot(spec, noise=False, randomization=lossy)
    log = record_motion(robot, commands(spec), "held", np.random.default_rng(0))
    assert 20 < len(log.time) < 55
    assert (np.diff(log.time) > 0.0).all()
    assert len(log.sent) == 60


def test_the_supervisors_limits_are_in_the_log(spec):
    wild = commands(spec)
    wild[30:] = 100.0
    log = record_motion(MujocoRobot(spec, noise=False), wild, "held", np.random.default_rng(0))
    assert (log.command <= spec.upper + 1e-12).all()
    assert (np.abs(np.diff(log.command, axis=0)) <= spec.safety.command_step_limit + 1e-9).all()


def test_a_stop_ends_the_motion_and_says_why(robot_values):
    slow = {"joints.FL_hip_joint.velocity": 0.2, "safety.joint_velocity": "stop", "safety.command_step_limit": 0.5}
    spec = parse_robot(robot_values("go2", slow))
    wild = np.repeat(spec.home[None], 60, axis=0)
    wild[20:, 0] += 0.5
    with pytest.raises(RobotFault, match=r"stopped after .* velocity of FL_hip_joint is .*, allowed 0\.2"):
        record_motion(MujocoRobot(spec, noise=False), wild, "standing", np.random.default_rng(0))
