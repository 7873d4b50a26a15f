"""Leg odometry against the simulator's truth, and against motions known in advance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.runtime import OnnxPolicy
from robot_rl import rotation
from robot_rl.commands.evaluate import policy_task
from robot_rl.errors import ConfigurationError
from robot_rl.leg_odometry import LegOdometry
from robot_rl.make import make_env, make_robot
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec_file import load_robot

ROOT = Path(__file__).parents[2]
GO2 = load_robot("go2")


class Sampled:
    """A robot whose sensors are faster than its policy; keeps all their readings."""

    def __init__(self, spec, rate):
        self.robot = make_robot(replace(spec, control_rate=rate))
        self.spec, self.provides, self.states = spec, self.robot.provides, []

    def reset(self, start, rng):
        self.states.append(self.robot.reset(start, rng))
        return self.states[-1]

    def step(self, command):
        for _ in range(round(self.robot.spec.control_rate / self.spec.control_rate)):
            self.states.append(self.robot.step(command))
        return self.states[-1]

    def stop(self):
        pass

    def close(self):
        pass


def walk(name, rate, seconds, seed):
    """Readings at `rate` of a robot that walks with its shipped policy under sensor noise."""
    robot = Sampled(load_robot(name), rate)
    policy = OnnxPolicy.load(ROOT / "policies" / "trained" / f"{name}-walk.onnx")
    env = make_env(robot, policy_task(policy.contract, robot.spec), time_limit=seconds)
    observation, _ = env.reset(seed=seed)
    ended = False
    while not ended:
        observation, _, fell, ended, _ = env.step(policy.act(observation).action)
        assert not fell
    return robot.states


@pytest.fixture(scope="module")
def go2_walk():
    return walk("go2", 200.0, 4.0, 5)


def test_velocity_of_a_walking_robot_is_known_to_eight_hundredths(go2_walk):
    odometry = LegOdometry(GO2)
    off = [odometry.update(state).linear_velocity - state.base_linear_velocity for state in go2_walk]
    assert np.sqrt((np.array(off) ** 2).sum(-1).mean()) < 0.08


def test_velocity_without_an_accelerometer_is_still_known_to_a_tenth():
    spec = load_robot("minitaur")
    odometry = LegOdometry(spec)
    off = [odometry.update(s).linear_velocity - s.base_linear_velocity for s in walk("minitaur", 50.0, 3.0, 5)]
    assert np.sqrt((np.array(off) ** 2).sum(-1).mean()) < 0.1


def test_height_and_way_of_a_walking_robot_are_known(go2_walk):
    odometry = LegOdometry(GO2)
    found = np.array([odometry.update(state).position for state in go2_walk])
    truth = np.array([state.base_position for state in go2_walk])
    assert np.abs(found[:, 2] - truth[:, 2]).max() < 0.015
    assert np.linalg.norm((found - truth)[-1, :2] - (found - truth)[0, :2]) < 0.1 * np.linalg.norm(truth[-1, :2])


def test_a_standing_robot_does_not_move():
    robot = make_robot("go2")
    odometry = LegOdometry(GO2)
    states = [robot.reset(Start(GO2.home), np.random.default_rng(0))]
    states += [robot.step(JointCommand(GO2.home)) for _ in range(150)]
    speeds = [np.linalg.norm(odometry.update(state).linear_velocity) for state in states]
    assert np.sqrt(np.mean(np.square(speeds[50:]))) < 0.05


def still(**changes):
    """A robot at home on the ground, without noise; levels, contacts and velocities may be given."""
    weight = 15.2 * 9.81
    state = {
        "stamp": 0.0,
        "joint_position": np.array(GO2.home),
        "joint_velocity": np.zeros(12),
        "orientation_xyzw": np.array([0.0, 0.0, 0.0, 1.0]),
        "angular_velocity": np.zeros(3),
        "linear_acceleration": np.array([0.0, 0.0, 9.81]),
        "contacts": np.full(4, weight / 4),
    }
    return RobotState(**{**state, **changes})


def test_legs_that_sweep_backwards_move_the_base_forwards():
    odometry = LegOdometry(GO2)
    speed, dt = 0.4, 0.005
    position = np.array(GO2.home)
    for tick in range(50):
        feet = GO2.legs.kinematics(position)
        # Joint velocities for which the point under every foot stands still while the base moves forwards.
        down = np.array([0.0, 0.0, -1.0])
        rows = [
            feet.jacobian[foot] + np.cross(feet.turning[foot].T, GO2.legs.radius[foot] * down).T for foot in range(4)
        ]
        velocity = np.linalg.solve(np.concatenate(rows), np.tile([-speed, 0.0, 0.0], 4))
        state = still(stamp=tick * dt, joint_position=position, joint_velocity=velocity)
        motion = odometry.update(state)
        position = position + dt * velocity
    assert motion.linear_velocity == pytest.approx([speed, 0.0, 0.0], abs=0.01)
    assert motion.position[0] == pytest.approx(speed * 49 * dt, rel=0.02)


def test_a_flight_follows_the_accelerometer():
    odometry = LegOdometry(GO2)
    nothing, dt = np.zeros(4), 0.005
    turned = np.array([0.0, np.sin(0.1), 0.0, np.cos(0.1)])  # pitched, so that gravity has two parts
    for tick in range(40):
        odometry.update(still(stamp=tick * dt, orientation_xyzw=np.array([0.0, 0.0, 0.0, 1.0])))
    for tick in range(40, 81):
        falling = still(
            stamp=tick * dt, contacts=nothing, orientation_xyzw=turned, linear_acceleration=np.array([1.0, 0.0, 0.0])
        )
        motion = odometry.update(falling)
    # Free fall with a push of 1 m/s^2 along the body's x, for 40 ticks and half of the one in which it began.
    push, time = np.array([1.0, 0.0, 0.0]), 40.5 * dt
    expected = (push + 9.81 * rotation.gravity_in_body(turned)) * time
    assert motion.linear_velocity == pytest.approx(expected, abs=0.08)


def test_a_foot_that_slides_is_outvoted():
    odometry = LegOdometry(GO2)
    sliding = np.zeros(12)
    sliding[1] = 6.0  # one thigh sweeps at 1.6 m/s under full load
    for tick in range(100):
        motion = odometry.update(still(stamp=tick * 0.02, joint_velocity=sliding if tick > 10 else np.zeros(12)))
    assert np.linalg.norm(motion.linear_velocity) < 0.1


def test_reset_forgets():
    odometry = LegOdometry(GO2)
    first = odometry.update(still())
    for tick in range(1, 20):
        odometry.update(still(stamp=tick * 0.02, linear_acceleration=np.array([3.0, 0.0, 9.81]), contacts=np.zeros(4)))
    odometry.reset()
    again = odometry.update(still(stamp=5.0))
    assert np.array_equal(first.position, again.position)
    assert np.array_equal(first.linear_velocity, again.linear_velocity)


def test_a_robot_without_legs_in_its_file_is_refused():
    with pytest.raises(ConfigurationError, match=r"'go2'.*the section 'legs'"):
        LegOdometry(replace(GO2, legs=None))
    without = {name: noise for name, noise in GO2.sensors.items() if name != "contacts"}
    with pytest.raises(ConfigurationError, match="lacks contacts"):
        LegOdometry(replace(GO2, sensors=without))
