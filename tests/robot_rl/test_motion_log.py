"""What a motion log accepts, and what it says of what it does not."""

import io
from dataclasses import replace

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.joint_log import read_joint_log
from robot_rl.motion_log import MotionLog, read_motion_log
from robot_rl.spec_file import load_robot


@pytest.fixture(scope="module")
def spec():
    return load_robot("go2")


@pytest.fixture
def log(spec):
    """Readings every 5 ms, commands every 20 ms, half a reading apart."""
    time, sent = 0.005 * np.arange(40), 0.0025 + 0.02 * np.arange(10)
    wave = np.sin(time)[:, None] + np.arange(12)
    command = np.sin(sent)[:, None] + np.arange(12)
    return MotionLog("go2", spec.joint_names, "held", time, wave, 2 * wave, 3 * wave, sent, command, (0.004, 0.001))


def saved(log, path, **changes):
    path.write_bytes(log.to_npz())
    if changes:
        with np.load(path) as content:
            arrays = dict(content)
        for name, value in changes.items():
            if value is None:
                del arrays[name]
            else:
                arrays[name] = value
        np.savez(path, **arrays)
    return path


def test_a_log_comes_back_whole(log, spec, tmp_path):
    read = read_motion_log(saved(log, tmp_path / "log.npz"), spec)
    for name in ("time", "position", "velocity", "effort", "sent", "command"):
        np.testing.assert_array_equal(getattr(read, name), getattr(log, name))
    assert (read.robot, read.base, read.age, read.coarse) == ("go2", "held", (0.004, 0.001), 0.0)


def test_motors_can_be_learnt_from_the_same_file(log, spec, tmp_path):
    read = read_joint_log(saved(log, tmp_path / "log.npz"), spec)
    assert read.interval == pytest.approx(0.005)
    # In force at 22 ms is what was sent at 2.5 ms, at 25 ms what was sent at 22.5 ms.
    np.testing.assert_array_equal(read.command[4], log.command[0])
    np.testing.assert_array_equal(read.command[5], log.command[1])


def test_joints_are_paired_by_name(log, spec, tmp_path):
    order = np.random.default_rng(0).permutation(12)
    moved = replace(
        log,
        joints=tuple(spec.joint_names[k] for k in order),
        position=log.position[:, order],
        velocity=log.velocity[:, order],
        effort=log.effort[:, order],
        command=log.command[:, order],
    )
    read = read_motion_log(saved(moved, tmp_path / "log.npz"), spec)
    np.testing.assert_array_equal(read.position, log.position)
    np.testing.assert_array_equal(read.command, log.command)


def test_a_joint_log_alone_knows_commands_to_half_an_interval(log, spec, tmp_path):
    names = ("robot", "joints", "base", "time", "sent", "sent_command", "age")
    path = saved(log, tmp_path / "log.npz", **dict.fromkeys(names))
    with pytest.raises(ConfigurationError, match="give --base held or standing"):
        read_motion_log(path, spec)
    read = read_motion_log(path, spec, "held")
    assert read.coarse == pytest.approx(0.005)
    # A command that was sent at 22.5 ms is in force from the reading at 25 ms on: its moment is the middle.
    index = int(np.argmax((read.command == log.command[1]).all(1)))
    assert read.sent[index] == pytest.approx(0.0225)


def test_the_log_of_another_robot_is_refused_with_both_robots_joints(log, spec, tmp_path):
    other = load_robot("dclaw")
    with pytest.raises(ConfigurationError, match=r"log of robot 'go2', not of 'dclaw'.*FL_hip_joint.*finger1_joint1"):
        read_motion_log(saved(log, tmp_path / "log.npz"), other)
    renamed = replace(log, joints=(*spec.joint_names[:-1], "tail"))
    with pytest.raises(ConfigurationError, match=r"unknown: tail; missing: RR_calf_joint"):
        read_motion_log(saved(renamed, tmp_path / "other.npz"), spec)


def test_what_is_not_finite_is_named_by_joint_and_time(log, spec, tmp_path):
    position = np.array(log.position)
    position[7, 2] = np.nan
    with pytest.raises(ConfigurationError, match=r"position of FL_calf_joint is nan in sample 7, at 0\.035 s"):
        read_motion_log(saved(log, tmp_path / "log.npz", position=position), spec)


def test_time_that_does_not_increase_is_named(log, spec, tmp_path):
    time = np.array(log.time)
    time[9] = time[7]
    with pytest.raises(ConfigurationError, match=r"but time\[9\] = 0\.035000 s follows 0\.040000 s"):
        read_motion_log(saved(log, tmp_path / "log.npz", time=time), spec)
    with pytest.raises(ConfigurationError, match=r"sent must increase"):
        replace(log, sent=log.sent[::-1].copy())


def test_times_of_two_clocks_are_refused(log):
    with pytest.raises(ConfigurationError, match="one clock"):
        replace(log, sent=log.sent + 1000.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": None}, "lacks 'position'"),
        ({"velocity": np.zeros((40, 11))}, r"velocity has shape \(40, 11\); expected \(40, 12\)"),
        ({"time": None, "interval": np.array(0.0)}, "needs 'time', or an 'interval' above 0 s"),
        ({"position": np.full((40, 12), "a")}, "expected numbers"),
        ({"age": np.zeros(3)}, "age: expected two finite numbers"),
    ],
)
def test_what_is_missing_or_of_another_size_is_named(log, spec, tmp_path, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        read_motion_log(saved(log, tmp_path / "log.npz", **changes), spec)


@pytest.mark.parametrize(("read", "what"), [(read_motion_log, "motion log"), (read_joint_log, "joint log")])
def test_a_file_that_is_no_archive_or_a_damaged_one_is_refused(read, what, log, spec, tmp_path):
    path, whole, rng = saved(log, tmp_path / "log.npz"), log.to_npz(), np.random.default_rng(0)
    array = io.BytesIO()
    np.save(array, np.zeros((4, 12)))
    for content in (b"", b"no archive", whole[:500], array.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=f"cannot read {what} {path}: ."):
            read(path, spec)
    refused = 0
    for place in rng.integers(0, len(whole), 150):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(content)
        try:
            read(path, spec)
        except ConfigurationError:
            refused += 1
    assert refused > 50


def test_a_joint_log_of_another_shape_is_refused(log, spec, tmp_path):
    for shape in ((), (40,)):
        with pytest.raises(ConfigurationError, match=r"command has shape \((40,)?\); expected \(T, 12\)"):
            read_joint_log(saved(log, tmp_path / "log.npz", command=np.zeros(shape)), spec)


def test_what_is_no_log_is_refused(spec, tmp_path, log):
    with pytest.raises(ConfigurationError, match="cannot read motion log"):
        read_motion_log(tmp_path / "none.npz", spec)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ConfigurationError, match="cannot read motion log"):
        read_motion_log(tmp_path / "text.npz", spec)
    (tmp_path / "half.npz").write_bytes(log.to_npz()[:500])
    with pytest.raises(ConfigurationError, match="cannot read motion log"):
        read_motion_log(tmp_path / "half.npz", spec)
    with pytest.raises(UnknownName, match="held, standing"):
        replace(log, base="hanging")
