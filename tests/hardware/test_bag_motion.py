"""Motion logs from a bag: moments of readings and commands, and what a bag must have."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.bag import Bag
from hardware.bag_motion import motion_logs
from hardware.recorder import Recorder
from robot_rl.errors import ConfigurationError
from robot_rl.spec_file import load_robot

BEGIN = 1_700_000_000_000_000_000
KIND = "sensor_msgs/msg/JointState"
ORDER = np.random.default_rng(5).permutation(12)
AGE, THINKS = 0.003, 0.001
"""s from a reading to its arrival, and from there to the command."""


def position(t):
    return np.sin(t) + 0.1 * np.arange(12)


def record(folder, clock=0.0, states=True, joints=None, robot="go2"):
    """A second of readings at 200 Hz and commands at 50 Hz; the robot's clock is `clock` s ahead."""
    spec = load_robot(robot)
    recorder = Recorder(folder, spec)
    make = recorder.types.make
    recorder.begin_episode(moment=BEGIN)
    for k in range(200):
        t = 0.005 * k
        arrival = BEGIN + round(1e9 * (t + AGE))
        stamp = BEGIN + round(1e9 * (t + clock))
        names = joints or [spec.joint_names[i] for i in ORDER]
        message = make(
            KIND,
            header=make(
                "std_msgs/msg/Header",
                stamp=make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9),
                frame_id="",
            ),
            name=names,
            position=position(t)[ORDER],
            velocity=np.cos(t) * np.ones(12),
            effort=np.zeros(0),
        )
        if states:
            recorder.message("/joint_states", KIND, recorder.types.to_bytes(message, KIND), arrival)
        if k % 4 == 0:
            command = spec.home + 0.01 * (k // 4)
            recorder.policy(
                np.zeros(3), np.zeros(12), command, np.zeros(4), 1e-9 * stamp, moment=arrival + round(1e9 * THINKS)
            )
    recorder.end_episode("time limit", moment=arrival + 1)
    recorder.close()
    assert not recorder.fault
    return Bag(folder), spec


def test_readings_count_from_their_stamps_and_commands_from_when_they_were_sent(tmp_path):
    bag, spec = record(tmp_path / "bag")
    (log,) = motion_logs(bag, spec, "held")
    np.testing.assert_allclose(log.time, 0.005 * np.arange(len(log.time)), atol=1e-8)
    np.testing.assert_allclose(log.position, position(log.time[:, None]), atol=1e-8)
    np.testing.assert_allclose(log.sent, 0.02 * np.arange(len(log.sent)) + AGE + THINKS, atol=1e-8)
    np.testing.assert_allclose(log.command, spec.home + 0.01 * np.arange(len(log.sent))[:, None])
    assert log.age == (pytest.approx(AGE, abs=1e-6), pytest.approx(0.0, abs=1e-6))
    assert log.effort is None


def test_with_another_clock_a_command_counts_from_the_reading_that_it_answers(tmp_path):
    bag, spec = record(tmp_path / "bag", clock=5000.0)
    (log,) = motion_logs(bag, spec, "held")
    np.testing.assert_allclose(log.sent, 0.02 * np.arange(len(log.sent)), atol=2e-6)
    np.testing.assert_allclose(log.position, position(log.time[:, None]), atol=2e-6)
    assert log.age is None


def test_a_bag_without_the_topics_is_refused_with_those_that_it_has(tmp_path):
    bag, spec = record(tmp_path / "bag", states=False)
    with pytest.raises(ConfigurationError, match=r"lacks /joint_states, .*it has: /policy/action, /policy/command"):
        motion_logs(bag, spec, "held")


def test_a_bag_of_another_robot_is_refused(tmp_path):
    bag, _ = record(tmp_path / "bag")
    with pytest.raises(ConfigurationError, match="recorded with robot 'go2', not 'minitaur'"):
        motion_logs(bag, load_robot("minitaur"), "held")


def test_readings_of_other_joints_are_refused_by_name(tmp_path):
    bag, spec = record(tmp_path / "bag", joints=[f"arm{k}" for k in range(12)])
    with pytest.raises(ConfigurationError, match=r"every message of /joint_states is refused.*FL_hip_joint"):
        motion_logs(bag, spec, "held")


def test_how_the_base_was_must_be_said(tmp_path):
    bag, spec = record(tmp_path / "bag")
    with pytest.raises(ConfigurationError, match="give --base held or standing"):
        motion_logs(bag, spec)
