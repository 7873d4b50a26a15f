"""Windows as the doctor would hear them, from a simulated robot in this process and with the twin's own faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")

from hardware.bends import Bend
from hardware.doctor import Doctor, DoctorSettings, holding
from hardware.faults import Faults, FaultyWiring
from hardware.finding import Finding
from hardware.session import RosSession
from hardware.simulator_client import SimulatorClient
from hardware.window import ImuValues, JointValues, Sample, TopicFacts, Window
from robot_rl.make import make_robot
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot

GO2 = load_robot("go2")
HEALTHY = {
    "swap": [""],
    "flip": [""],
    "missing": [""],
    "degrees": False,
    "way": "both",
    "slow": 1,
    "state_delay": 0.0,
    "command_delay": 0.0,
}
"""The faults that tests set; an empty name is no joint."""


class Recorder:
    """A simulated robot whose readings are kept as samples, and whose clock is its own."""

    def __init__(self, spec: RobotSpec, faults: Faults | None = None, seed: int = 0, late: int = 0) -> None:
        """Args: spec: the robot; faults: of its wiring; seed: of its noise; late: ticks that commands take."""
        self.spec, self.faults, self._late = spec, faults or Faults(), late
        self._robot, self._wiring = make_robot(spec), FaultyWiring(spec)
        self.samples: dict[str, list[Sample]] = {"joint_states": []}
        self.commands: list[tuple[float, np.ndarray]] = []
        self.state = self._keep(self._robot.reset(Start(spec.home), np.random.default_rng(seed)))

    def tick(self, command: np.ndarray) -> RobotState:
        """One control tick; returns what is read."""
        self.commands.append((float(self.state.stamp), command.copy()))
        _, reached = self.commands[max(0, len(self.commands) - 1 - self._late)]
        self.state = self._keep(self._robot.step(JointCommand(self._wiring.command(reached, self.faults))))
        return self.state

    def window(self) -> Window:
        """All that was heard."""
        facts = {
            name: TopicFacts(f"/{name}", f"some/msg/{name}", (f"some/msg/{name}",), ("reliable",))
            for name in self.samples
        }
        samples = {name: list(kept) for name, kept in self.samples.items()}
        return Window(self.spec, facts, samples, lock_step=True, commands=list(self.commands), listeners=1)

    def _keep(self, true: RobotState) -> RobotState:
        state = self._wiring.readings(true, self.faults)
        effort: Sequence[float] = () if state.joint_effort is None else state.joint_effort.tolist()
        joints = JointValues(
            self.spec.joint_names, tuple(state.joint_position), tuple(state.joint_velocity), tuple(effort)
        )
        self._put("joint_states", state, joints)
        if state.orientation_xyzw is not None:
            linear = (0.0,) * 3 if state.linear_acceleration is None else tuple(state.linear_acceleration)
            self._put("imu", state, ImuValues(tuple(state.orientation_xyzw), tuple(state.angular_velocity), linear))
        if state.contacts is not None:
            for foot, force in zip(self.spec.feet, state.contacts, strict=True):
                self._put(f"contact {foot}", state, float(force))
        return state

    def _put(self, name: str, state: RobotState, value: Any) -> None:
        stamp = float(state.stamp)
        self.samples.setdefault(name, []).append(Sample(stamp, stamp, 0.0, value))


class Patient:
    """A twin in lock step, in another process, to be spoiled."""

    def __init__(self, simulator: SimulatorClient) -> None:
        self._simulator = simulator

    def examine(self, move: bool = True, **faults: Any) -> list[Finding]:
        """Puts the twin at home with these faults, and examines it."""
        self._simulator.spoil({**HEALTHY, **faults})
        self._simulator.reset(Start(GO2.home), 0, GO2)
        doctor = Doctor(GO2, DoctorSettings(lock_step=True, seconds=1.0))
        try:
            found = doctor.look()
            if move and not any(finding.blocks for finding in found):
                found += doctor.bend()
            return found
        finally:
            doctor.close()


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, network_of_its_own: Any) -> Iterator[Patient]:
    """See `Patient`."""
    with network_of_its_own() as begin:
        process = begin("-m", "robot_rl.cli", "twin", "go2", "--lock-step")
        process.wait_for("twin of")
        session = RosSession("nurse")
        try:
            simulator = SimulatorClient(session.node)
            session.start()
            deadline = time.monotonic() + 20.0
            while not simulator.present:
                assert time.monotonic() < deadline, "the twin offers no services"
                time.sleep(0.02)
            yield Patient(simulator)
        finally:
            session.close()


@pytest.fixture(scope="session")
def standing() -> Callable[..., Recorder]:
    """`standing(spec, faults, seed=0, late=0)`: a robot at rest, and what it tells for two seconds."""
    return _standing


@pytest.fixture(scope="session")
def sunk() -> Callable[..., Recorder]:
    """`sunk(spec, faults)`: a robot that has sunk to the ground for want of commands, and holds there."""
    return _sunk


@pytest.fixture(scope="session")
def bent() -> Callable[..., list[Bend]]:
    """`bent(recorder)`: bends every joint in turn, as the doctor does."""
    return _bent


def _standing(spec: RobotSpec, faults: Faults | None = None, seed: int = 0, late: int = 0) -> Recorder:
    recorder = Recorder(spec, None, seed, late)
    home, rate = np.array(spec.home), spec.control_rate
    for _ in range(round(1.5 * rate)):
        recorder.tick(home)
    for samples in recorder.samples.values():
        samples.clear()
    # Nobody commands yet: the motors hold still, and only what is read can be wrong.
    faults = faults or Faults()
    if faults.way != "motors":
        recorder.faults = replace(faults, way="readings")
    for _ in range(round(2.0 * rate)):
        recorder.tick(home)
    recorder.faults = faults
    return recorder


def _sunk(spec: RobotSpec, faults: Faults | None = None) -> Recorder:
    recorder = _standing(spec, faults)
    recorder._robot.drive("damp")
    for _ in range(round(3.0 * spec.control_rate)):
        recorder.tick(np.array(spec.home))
    for samples in recorder.samples.values():
        samples.clear()
    for _ in range(round(2.0 * spec.control_rate)):
        recorder.tick(np.array(spec.home))
    recorder._robot.drive("position")
    return recorder


def _bent(recorder: Recorder, amplitude: float = 0.08) -> list[Bend]:
    spec, rate = recorder.spec, recorder.spec.control_rate
    state = recorder.window().mean_state(float(recorder.state.stamp) - 0.5)
    assert state is not None
    home = holding(spec, state)
    for _ in range(round(0.5 * rate)):
        recorder.tick(home)
    ramp = round(0.3 * rate)
    up = 0.5 * (1.0 - np.cos(np.pi * np.arange(1, ramp + 1) / ramp))
    bends = []
    for joint in range(spec.joints):
        moments = [float(recorder.state.stamp)]
        for shares in ([*up, *np.ones(round(0.5 * rate))], [*up[::-1], *np.zeros(round(0.3 * rate))]):
            for share in shares:
                command = home.copy()
                command[joint] += amplitude * share
                recorder.tick(command)
            moments.append(float(recorder.state.stamp))
        bends.append(Bend(joint, amplitude, *moments))
    return bends
