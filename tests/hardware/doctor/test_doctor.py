"""The doctor and the twin in two processes, over real topics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from hardware import messages
from hardware.doctor import Doctor
from hardware.finding import Finding
from hardware.session import RosSession
from hardware.simulator_client import SimulatorClient
from robot_rl.robot import Start
from robot_rl.spec_file import load_robot

DOCTOR = (sys.executable, "-m", "robot_rl.cli", "doctor")
ARM, GO2 = load_robot("planar_arm"), load_robot("go2")


def failures(findings: list[Finding]) -> list[str]:
    return [f"{f.check}: {f.found} -> {f.advice}" for f in findings if f.verdict == "fail"]


def named(findings: list[Finding], *words: str) -> bool:
    """Whether one failed check says all of this."""
    return any(all(word in line for word in words) for line in failures(findings))


def test_exchanged_joints_are_found(patient: Any) -> None:
    found = patient.examine(swap=["FL_thigh_joint", "FR_thigh_joint"])
    assert named(found, "FL_thigh_joint and FR_thigh_joint are exchanged: motors and readings"), failures(found)


def test_a_flipped_sign_is_found(patient: Any) -> None:
    assert named(patient.examine(flip=["FL_calf_joint"]), "FL_calf_joint counts the wrong way")


def test_degrees_are_found(patient: Any) -> None:
    assert named(patient.examine(degrees=True), "unit of positions", "degrees")


def test_a_missing_joint_is_found(patient: Any) -> None:
    assert named(patient.examine(missing=["RR_hip_joint"]), "missing", "RR_hip_joint")


def test_half_the_rate_is_found(patient: Any) -> None:
    assert named(patient.examine(move=False, slow=2), "rate of /joint_states", "25 Hz")


@pytest.mark.parametrize("way", ["state_delay", "command_delay"])
def test_a_delay_is_found(way: str, patient: Any) -> None:
    assert named(patient.examine(**{way: 0.2}), "delay")


def test_motors_that_leap_stop_the_examination(patient: Any) -> None:
    found = patient.examine(flip=["FL_thigh_joint"], way="motors")
    assert named(found, "stays when told to", "FL_thigh_joint"), failures(found)
    assert not any(finding.check == "wiring" for finding in found)  # nothing was bent after that


class Arm:
    """A driver of the arm in this process: its joints are where they were told, 50 times a second, until it breaks.

    Attributes:
        broken: what it sends of its positions, (3,).
    """

    def __init__(self) -> None:
        self._session = RosSession("arm")
        node, self._position = self._session.node, np.array(ARM.home)
        self.broken: Callable[[np.ndarray], np.ndarray] = lambda position: position
        self._publisher = node.create_publisher(JointState, ARM.ros.joint_states, 10)
        node.create_subscription(Float64MultiArray, ARM.ros.command_topic, self._follow, 10)
        node.create_timer(0.02, self._tell)
        self._session.start()

    def close(self) -> None:
        self._session.close()

    def _follow(self, command: Float64MultiArray) -> None:
        self._position = np.array(command.data)

    def _tell(self) -> None:
        position, nothing = self.broken(self._position), np.zeros(3)
        self._publisher.publish(messages.write_joints(time.time(), ARM.joint_names, position, nothing, nothing))


@pytest.fixture
def arm(domain: int) -> Iterator[Arm]:
    made = Arm()
    yield made
    made.close()


def _lost(position: np.ndarray) -> np.ndarray:
    return np.array([position[0], np.nan, position[2] + 3.0])  # the second hides where the third goes


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_lost, "joint_states has a position that is not finite: joint2"),
        (lambda position: position[:2], "joint_states has 2 numbers of position for 3 joints"),
    ],
    ids=["nan", "short"],
)
def test_a_reading_that_breaks_while_a_joint_is_bent_ends_the_examination(
    broken: Callable[[np.ndarray], np.ndarray], said: str, arm: Arm
) -> None:
    moved: list[str] = []

    def watch(joint: str) -> None:
        moved.append(joint)
        if joint == "joint1":
            arm.broken = broken

    doctor = Doctor(ARM)
    try:
        found = doctor.bend(watch)
    finally:
        doctor.close()
    assert moved == ["stay", "joint1"]
    assert found[0].blocks
    assert said in found[0].found
    assert "encoder" in found[0].advice


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*DOCTOR, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )


def test_a_healthy_robot_is_told_so_by_the_command(twin: Callable[..., Any]) -> None:
    twin("go2", "--lock-step")
    done = run("go2", "--lock-step", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["moved"], result["failures"]) == (True, 0)
    assert any(row["check"] == "wiring" and row["verdict"] == "ok" for row in result["findings"])


def test_a_twin_that_has_sunk_after_its_last_command_is_told_to_stand_first(twin: Callable[..., Any]) -> None:
    twin("go2")
    session = RosSession("last_command")
    try:
        publisher = session.node.create_publisher(Float64MultiArray, GO2.ros.command_topic, 1)
        simulator = SimulatorClient(session.node)
        session.start()
        deadline = time.monotonic() + 20.0
        while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        publisher.publish(messages.write_command(GO2.home, 0.0))
        time.sleep(3.0)
        # No publisher of commands may be left when the doctor comes.
        session.node.destroy_publisher(publisher)
        done = run("go2", "--yes", "--json", "--seconds", "0.5")
        simulator.reset(Start(GO2.home), 0, GO2)
        again = run("go2", "--passive", "--json", "--seconds", "0.5")
    finally:
        session.close()
    result = json.loads(done.stdout)
    rows = {row["check"]: row for row in result["findings"]}
    assert rows["stance"]["verdict"] == "unknown", rows
    assert "wiring" not in rows
    assert (done.returncode, result["moved"], result["why"][:13]) == (4, False, "nothing moved")
    assert "stance" not in again.stdout
    assert "near home" in again.stdout


@pytest.mark.alone
def test_a_robot_in_real_time_is_heard_at_its_rate(twin: Callable[..., Any], robot_file: Callable[..., str]) -> None:
    # A rate that a busy machine keeps, too.
    path = robot_file("dclaw", ros={"rate": 20, "state_timeout": 2.0, "command_timeout": 2.0})
    twin(path)
    done = run(path, "--passive", "--json", "--seconds", "1")
    rows = {row["check"]: row for row in json.loads(done.stdout)["findings"]}
    assert rows["rate of /joint_states"]["verdict"] in ("ok", "warn"), rows
    assert rows["joint names"]["verdict"] == "ok"
    assert json.loads(done.stdout)["moved"] is False


@pytest.mark.alone
def test_a_robot_that_is_not_there_is_told_within_ten_seconds(domain: int) -> None:
    doctor = Doctor(load_robot("go2"))
    try:
        began = time.monotonic()
        found = doctor.look()
        assert time.monotonic() - began < 10.0
    finally:
        doctor.close()
    assert named(found, "/joint_states", "no publisher; no topics seen at all", "ROS_DOMAIN_ID"), failures(found)


def test_the_command_ends_with_four_when_a_check_fails(domain: int, robot_file: Callable[..., str]) -> None:
    path = robot_file("go2", ros={"connect_timeout": 0.5})
    done = run(path, "--passive")
    assert done.returncode == 4
    assert "no publisher" in done.stdout
    assert "checks failed; only listened" in done.stdout


def test_a_sourced_ros_beside_the_wheels_is_warned_of(domain: int, robot_file: Callable[..., str]) -> None:
    path = robot_file("go2", ros={"connect_timeout": 0.5})
    done = run(path, "--passive", "--json", AMENT_PREFIX_PATH="/opt/ros/jazzy")
    rows = {row["check"]: row for row in json.loads(done.stdout)["findings"]}
    assert rows["installation"]["verdict"] == "warn"
    assert "/opt/ros/jazzy" in rows["installation"]["found"]


def test_without_a_terminal_nothing_moves_unasked(domain: int) -> None:
    done = run("go2")
    assert done.returncode == 2
    assert "--yes" in done.stderr
