"""A robot over ROS 2 against the twin in another process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hardware.ros_robot import RosRobot, RosSettings
from robot_rl.errors import RobotFault, RobotTimeout
from robot_rl.robot import JointCommand, Start
from robot_rl.spec_file import load_robot

LOCK_STEP = RosSettings(lock_step=True)


@pytest.fixture
def go2(lock_step_twin: RosRobot) -> RosRobot:
    return lock_step_twin


def test_reset_puts_the_joints_where_the_start_says(go2: RosRobot) -> None:
    wanted = go2.spec.home + np.linspace(-0.1, 0.1, 12)
    state = go2.reset(Start(wanted), np.random.default_rng(0))
    assert state.joint_position == pytest.approx(wanted, abs=0.06)  # noise of .01 rad
    assert state.stamp == 0.0


def test_each_step_brings_the_state_of_the_next_control_tick(go2: RosRobot) -> None:
    go2.reset(Start(go2.spec.home), np.random.default_rng(0))
    stamps = [float(go2.step(JointCommand(go2.spec.home)).stamp) for _ in range(10)]
    assert stamps == pytest.approx(np.arange(1, 11) * go2.spec.control_dt, abs=1e-6)


def test_a_command_moves_the_joint_of_its_name(go2: RosRobot) -> None:
    go2.reset(Start(go2.spec.home), np.random.default_rng(0))
    wanted = np.array(go2.spec.home)
    wanted[go2.spec.joint_names.index("FR_hip_joint")] += 0.3
    for _ in range(15):
        state = go2.step(JointCommand(wanted))
    moved = state.joint_position - go2.spec.home
    assert go2.spec.joint_names[int(np.argmax(np.abs(moved)))] == "FR_hip_joint"
    assert state.applied == pytest.approx(wanted)


def test_two_lock_step_episodes_with_one_seed_are_identical(go2: RosRobot) -> None:
    def episode() -> np.ndarray:
        go2.reset(Start(go2.spec.home), np.random.default_rng(3))
        return np.stack([go2.step(JointCommand(go2.spec.home + 0.05 * np.sin(k))).joint_position for k in range(20)])

    assert np.array_equal(episode(), episode())


@pytest.mark.parametrize("kind", ["effort", "velocity", "trajectory"])
def test_other_kinds_of_command_hold_a_pose_too(
    kind: str, twin: Callable[..., object], tmp_path, robot_file: Callable[..., str]
) -> None:
    path = robot_file("dclaw", ros={"command": kind, "command_timeout": 2.0, "state_timeout": 2.0})
    twin(path)
    spec = load_robot(path)
    robot = RosRobot(spec)
    try:
        robot.reset(Start(spec.home), np.random.default_rng(0))
        wanted = spec.home + 0.2
        for _ in range(15):
            state = robot.step(JointCommand(wanted))
        assert state.joint_position == pytest.approx(wanted, abs=0.1)
    finally:
        robot.close()


def test_reset_puts_an_object_where_the_start_says(twin: Callable[..., object]) -> None:
    twin("planar_arm", "--lock-step")
    robot = RosRobot(load_robot("planar_arm"), LOCK_STEP)
    try:
        for place in ((0.35, -0.05), (0.22, 0.1)):
            start = Start(robot.spec.home, object_position={"cylinder": place})
            state = robot.reset(start, np.random.default_rng(0))
            assert state.objects["cylinder"].position == pytest.approx([*place, 0.04], abs=1e-6)
    finally:
        robot.close()


@pytest.mark.alone
def test_absent_robot_is_an_error_that_says_what_was_seen(domain: int) -> None:
    spec = load_robot("go2")
    spec = replace(spec, ros=replace(spec.ros, connect_timeout=1.0))
    began = time.monotonic()
    with pytest.raises(RobotTimeout, match=r"'go2' did not answer within 1 s: /joint_states .* no topics seen at all"):
        RosRobot(spec)
    assert time.monotonic() - began < 5.0


def test_wrong_robot_is_an_error_that_names_the_joints(twin: Callable[..., object]) -> None:
    twin("dclaw")
    spec = load_robot("go2")
    spec = replace(spec, ros=replace(spec.ros, connect_timeout=3.0))
    with pytest.raises(RobotTimeout, match=r"lacks the joints FL_hip_joint.*it names: finger1_joint1"):
        RosRobot(spec)


def test_second_commander_is_refused(twin: Callable[..., object]) -> None:
    twin("dclaw", "--lock-step")
    first = RosRobot(load_robot("dclaw"), LOCK_STEP)
    try:
        with pytest.raises(RobotFault, match="is commanded already: node 'robot_rl'"):
            RosRobot(first.spec, LOCK_STEP)
    finally:
        first.close()


def test_killed_twin_ends_as_a_state_that_is_too_old(twin: Callable[..., object]) -> None:
    process = twin("go2")
    spec = load_robot("go2")
    spec = replace(spec, ros=replace(spec.ros, state_timeout=1.0))
    robot = RosRobot(spec)
    try:
        robot.reset(Start(spec.home), np.random.default_rng(0))
        robot.step(JointCommand(spec.home))
        process.end(signal.SIGKILL)
        with pytest.raises(RobotTimeout, match=r"is 1.* s old, allowed 1 s"):
            _hold(robot, ticks=100)
    finally:
        robot.close()


@pytest.mark.alone
@pytest.mark.parametrize("cause", ["link cut", pytest.param("simulator halted", marks=pytest.mark.long)])
def test_a_reset_does_not_wait_for_a_robot_that_is_silent(cause: str, twin: Callable[..., object]) -> None:
    process = twin("go2")
    spec = load_robot("go2")
    spec = replace(spec, ros=replace(spec.ros, state_timeout=1.0, connect_timeout=40.0))
    robot = RosRobot(spec)
    try:
        robot.reset(Start(spec.home), np.random.default_rng(0))
        if cause == "link cut":  # its services go on
            robot._simulator.spoil({"link_cut": True})
            time.sleep(1.5)
        else:  # from here on, so that the reset begins well
            process.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(RobotTimeout, match=r"is \d+\.\d+ s old, allowed 1 s"):
            robot.reset(Start(spec.home), np.random.default_rng(0))
        assert time.monotonic() - began < 6.0  # what it takes is 2 s
    finally:
        robot.close()


def test_interrupted_twin_ends_cleanly(twin: Callable[..., object]) -> None:
    assert twin("go2").end(signal.SIGINT) == 0


def _hold(robot: RosRobot, ticks: int) -> None:
    for _ in range(ticks):
        robot.step(JointCommand(robot.spec.home))
