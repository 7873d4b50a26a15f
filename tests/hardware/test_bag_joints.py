"""Joint logs from a bag against the motion that was recorded."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.bag import Bag
from hardware.bag_joints import joint_logs
from hardware.recorder import Recorder
from robot_rl.errors import ConfigurationError
from robot_rl.spec_file import load_robot

BEGIN = 1_700_000_000_000_000_000
KIND = "sensor_msgs/msg/JointState"
ORDER = np.random.default_rng(5).permutation(12)
"""Of the joints in the messages."""


def position(t):
    return np.sin(t) + 0.1 * np.arange(12)


def record(folder, with_effort=True, pause=0.0):
    """Two seconds of readings at 200 Hz and commands at 50 Hz; a pause of the readings in the middle."""
    spec = load_robot("go2")
    recorder = Recorder(folder, spec)
    make = recorder.types.make
    recorder.begin_episode(moment=BEGIN)
    for k in range(400):
        t = 0.005 * k
        moment = BEGIN + round(1e9 * t)
        if not 1.0 <= t < 1.0 + pause:
            effort = 10.0 * np.cos(t) * np.ones(12) if with_effort else np.zeros(0)
            stamp = make("builtin_interfaces/msg/Time", sec=1_700_000_000, nanosec=round(1e9 * t) % 10**9)
            message = make(
                KIND,
                header=make("std_msgs/msg/Header", stamp=stamp, frame_id=""),
                name=[spec.joint_names[i] for i in ORDER],
                position=position(t)[ORDER],
                velocity=np.cos(t) * np.ones(12),
                effort=effort,
            )
            recorder.message("/joint_states", KIND, recorder.types.to_bytes(message, KIND), moment)
        if k % 4 == 0:
            command = spec.home + 0.01 * (k // 4)
            recorder.policy(np.zeros(3), np.zeros(12), command, np.zeros(4), t, moment=moment + 1000)
    recorder.end_episode("time limit", moment=moment)
    recorder.close()
    assert not recorder.fault
    return Bag(folder), spec


def test_a_log_has_what_was_told_and_done_in_the_robots_order(tmp_path):
    bag, spec = record(tmp_path / "bag")
    (log,) = joint_logs(bag, spec)
    assert log.interval == pytest.approx(1.0 / spec.ros.rate)
    begin = 1e-6  # the first command
    times = begin + log.interval * np.arange(len(log.command))
    assert len(times) >= 398
    assert log.position == pytest.approx(position(times[:, None]), abs=1e-5)
    assert log.velocity == pytest.approx(np.tile(np.cos(times)[:, None], 12), abs=1e-5)
    assert log.effort == pytest.approx(np.tile(10.0 * np.cos(times)[:, None], 12), abs=1e-4)
    told = (log.command - spec.home)[:, 0] / 0.01
    expected = np.floor((times - begin) / 0.02 + 1e-3)
    between = np.arange(len(times)) % 4 != 0  # at the others a command comes at the very moment of the sample
    assert told[between] == pytest.approx(expected[between], abs=1e-6)


def test_a_gap_in_the_readings_divides_the_log(tmp_path):
    bag, spec = record(tmp_path / "bag", pause=0.2)
    logs = joint_logs(bag, spec)
    assert len(logs) == 2
    assert sum(len(log.command) for log in logs) == pytest.approx(360, abs=4)


def test_a_bag_that_cannot_teach_motors_says_why(tmp_path):
    bag, spec = record(tmp_path / "bag", with_effort=False)
    with pytest.raises(ConfigurationError, match="no efforts"):
        joint_logs(bag, spec)
    with pytest.raises(ConfigurationError, match="recorded with robot 'go2', not 'minitaur'"):
        joint_logs(bag, load_robot("minitaur"))
