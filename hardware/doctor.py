"""Examines whatever answers on a robot's topics: listens, then bends one joint at a time a little."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.bends import Bend, active_findings, stirred
from hardware.checks import passive_findings
from hardware.finding import Finding
from hardware.installation import both_installed
from hardware.listener import Listener
from hardware.session import RosSession
from hardware.window import Window
from robot_rl.errors import InvalidInput, RobotFault, RobotTimeout
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec
from robot_rl.timing import Rate

Array = NDArray[np.floating]

_RAMP, _HEIGHT, _PAUSE = 0.3, 0.5, 0.3
"""s: a bend goes up and comes back in the first, stays for the second, and rests after it for the third."""
_HOLD = 0.5
"""s of being told to stay, before the first bend."""
_SETTLE, _LANDING = 1.0, 0.4
"""s and rad in which a simulated robot may come to rest after it was put down."""
_TRIES = 3
"""How often a bend is begun where this computer is too busy to command in time."""
_SILENCE = 0.5
"""s without readings that the slow motions of an examination can bear."""
_PATIENCE = 0.5
"""s without a reading after which a simulator that waits is sent its command again; a message can be lost."""


@dataclass(frozen=True)
class DoctorSettings:
    """How the examination goes."""

    namespace: str = ""
    """Before all relative topic names."""
    lock_step: bool = False
    """Whether the other side is a simulator that waits for each command."""
    seconds: float = 2.0
    """Of listening before anything moves."""
    amplitude: float = 0.08
    """rad (m), of each bend."""


class Doctor:
    """One examination of one robot; `close` it at the end."""

    def __init__(self, spec: RobotSpec, settings: DoctorSettings | None = None) -> None:
        """Joins the ROS network and listens."""
        self.spec, self.settings = spec, settings or DoctorSettings()
        self.session = RosSession("doctor", self.settings.namespace)
        self._commands: list[tuple[float, Array]] = []
        self._order = messages.JointOrder(spec.joint_names)
        self._publisher: Any = None
        self._answered = 0.0
        self._sent = time.monotonic()
        self._latest = 0.0
        self._rate: Rate | None = None
        self._home: Array | None = None
        try:
            self._listener = Listener(spec, self.session.node, self.settings.lock_step)
            self.session.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leaves; may be called any number of times."""
        self.session.close()

    def look(self) -> list[Finding]:
        """Listens, and checks what needs no motion.

        A simulator that waits for commands is told to stay where it is, or it would say nothing.
        """
        found = []
        both = both_installed()
        if both:
            found.append(Finding("installation", both, "one ROS", "warn", "use one of them"))
        deadline = time.monotonic() + self.spec.ros.connect_timeout
        while time.monotonic() < deadline and not self._listener.complete:
            self._pause(0.05)
        early = passive_findings(self.window())
        if self.settings.lock_step:
            if not any(finding.blocks for finding in early):
                problem = self._settle()
                if problem is not None:
                    return [*found, *early, problem]
        elif self._listener.joint_states:
            self._listener.forget()
            self._pause(self.settings.seconds)
        return [*found, *passive_findings(self.window())]

    def bend(self, progress: Callable[[str], None] = lambda _: None) -> list[Finding]:
        """Bends every joint a little, one after the other, and checks what comes of it.

        Stops at once when a joint goes where it was not sent.

        Args:
            progress: told what moves next.
        """
        try:
            return self._bend(progress)
        except (RobotFault, InvalidInput) as error:
            why = "look at its encoder and driver" if isinstance(error, InvalidInput) else "find out why it fell silent"
            advice = f"the robot is left to its own watchdog; {why}"
            found = f"ended: {error}"
            return [Finding("bends", found, "readings all the time", "fail", advice, blocks=True), *self._readings()]

    def _readings(self) -> list[Finding]:
        """What is wrong with the readings by now."""
        return [finding for finding in passive_findings(self.window()) if finding.verdict == "fail"]

    def _bend(self, progress: Callable[[str], None]) -> list[Finding]:
        spec = self.spec
        if spec.ros.command not in ("position", "trajectory"):
            found = f"the robot takes {spec.ros.command} commands"
            return [Finding("bends", found, "position or trajectory", "unknown", "bend joints by hand and compare")]
        self._open_commands()
        if not self.settings.lock_step:
            self._listener.forget()
            self._pause(_HOLD)
            for _ in range(20):
                # A busy computer brings readings late, and then many at once.
                if len(self._listener.joint_states) < 5:
                    self._pause(0.1)
        state = self.window().mean_state()
        if state is None:
            raise RobotTimeout(f"{spec.ros.joint_states} fell silent")
        before = np.asarray(state.joint_position)
        home: Array = self._home if self._home is not None else holding(spec, state)
        progress("stay")
        for _ in range(self._ticks(_HOLD)):
            problem = stirred(spec, before, self._tick(home))
            if problem is not None:
                return [problem]
        bends = []
        for joint, name in enumerate(spec.joint_names):
            progress(name)
            # Away from the nearer limit.
            up = spec.upper[joint] - home[joint] >= home[joint] - spec.lower[joint]
            amplitude = self.settings.amplitude if up else -self.settings.amplitude
            done: Bend | Finding = self._one(home, before, joint, amplitude)
            for _ in range(_TRIES - 1):
                if not isinstance(done, Finding) or done.verdict != "unknown":
                    break
                for _ in range(self._ticks(_SETTLE)):
                    self._tick(home)
                done = self._one(home, before, joint, amplitude)
            if isinstance(done, Finding):
                return [done]
            bends.append(done)
        self._tick(home)
        return active_findings(self.window(), bends)

    def window(self) -> Window:
        """What was heard and commanded so far."""
        return self._listener.window(self._commands)

    # -- moving -------------------------------------------------------------------------------------------------------

    def _one(self, home: Array, before: Array, joint: int, amplitude: float) -> Bend | Finding:
        began = self._now()
        height = ended = began
        self._latest = 0.0
        ramp, stay, rest = (self._ticks(s) for s in (_RAMP, _HEIGHT, _PAUSE))
        up = 0.5 * (1.0 - np.cos(np.pi * np.arange(1, ramp + 1) / ramp))
        for tick, share in enumerate(np.concatenate([up, np.ones(stay), up[::-1], np.zeros(rest)])):
            command = home.copy()
            command[joint] += amplitude * share
            now = self._tick(command)
            if tick == ramp + stay - 1:
                height = self._now()
            ended = self._now()
            if self._latest > self.spec.ros.command_timeout:
                found = f"this computer was silent for {self._latest:.2f} s; the robot stops by itself after less"
                expected = f"{self.spec.ros.command_timeout:g} s (ros.command_timeout)"
                return Finding("bends", found, expected, "unknown", "end other programs and examine again")
            away = np.abs(now - before)
            worst = int(np.argmax(away))
            if not away[worst] <= 4.0 * abs(amplitude) + 0.1:
                names = self.spec.joint_names
                found = f"{names[worst]} went {now[worst] - before[worst]:+.2f} rad while {names[joint]} was bent"
                advice = "degrees for radians, a wrong sign, or a joint that gives way"
                return Finding("bends", found, f"{amplitude:+.2f} rad of {names[joint]}", "fail", advice, blocks=True)
        return Bend(joint, amplitude, began, height, ended)

    def _settle(self) -> Finding | None:
        """Lets a simulated robot come to rest, then listens while it stays; what goes wrong, or None."""
        first = self.window().mean_state()
        if first is None:
            return None
        self._open_commands()
        home = holding(self.spec, first)
        # Readings that break off, or lose a joint, are seen by the checks that follow.
        with suppress(RobotFault, InvalidInput):
            for _ in range(self._ticks(_SETTLE)):
                problem = stirred(self.spec, np.asarray(first.joint_position), self._tick(home), _LANDING)
                if problem is not None:
                    return problem
            state = self.window().mean_state(self._now() - 0.3)
            self._home = home if state is None else holding(self.spec, state)
            self._listener.forget()
            for _ in range(self._ticks(self.settings.seconds)):
                self._tick(self._home)
        return None

    def _open_commands(self) -> None:
        if self._publisher is not None:
            return
        kind = JointTrajectory if self.spec.ros.command == "trajectory" else Float64MultiArray
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = self.session.node.create_publisher(kind, self.spec.ros.command_topic, quality)
        deadline = time.monotonic() + 5.0
        while self._publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
            self._pause(0.02)

    def _ticks(self, seconds: float) -> int:
        return max(1, round(seconds * self.spec.control_rate))

    def _now(self) -> float:
        """s, by the clock of the window."""
        if self.settings.lock_step:
            samples = self._listener.joint_states
            return samples[-1].stamp if samples else 0.0
        return time.monotonic()

    def _tick(self, position: Array) -> Array:
        """Sends a command, waits one tick, and returns the joints as read, (n,).

        Raises:
            InvalidInput: the reading lacks a joint or a number, or one is not finite; where the joint is, nobody knows.
        """
        self.session.check()
        self._send(position)
        if self.settings.lock_step:
            self._await_reading(position)
        else:
            if self._rate is None:
                self._rate = Rate(self.spec.control_dt)
            self._rate.wait()
            self._check_alive()
        value = self._listener.joint_states[-1].value
        try:
            return self._order.ordered("position", list(value.names), value.position)
        except InvalidInput as error:
            raise InvalidInput(f"{self.spec.ros.joint_states} {error}") from error

    def _check_alive(self) -> None:
        """Fails where readings stay away; where they come after all, it was this computer that was late."""
        received = self._listener.joint_states[-1].received
        silent = time.monotonic() - received
        if silent <= _SILENCE:
            return
        deadline = time.monotonic() + 2.0 * _SILENCE
        while self._listener.joint_states[-1].received == received:
            if time.monotonic() > deadline:
                raise RobotTimeout(f"{self.spec.ros.joint_states} is silent for {time.monotonic() - received:.1f} s")
            time.sleep(0.01)
        self._latest = max(self._latest, silent)

    def _send(self, position: Array) -> None:
        spec, samples = self.spec, self._listener.joint_states
        answered = samples[-1].stamp if samples else 0.0
        self._answered = answered
        if spec.ros.command == "trajectory":
            message = messages.write_trajectory(spec.joint_names, position, answered, spec.control_dt)
        else:
            message = messages.write_command(position, answered)
        now = time.monotonic()
        if not self.settings.lock_step:
            self._latest = max(self._latest, now - self._sent)
        self._sent = now
        self._publisher.publish(message)
        self._commands.append((self._now(), position.copy()))

    def _await_reading(self, position: Array) -> None:
        """Waits for a whole set of readings newer than the one that the last command answered."""
        deadline = time.monotonic() + self.spec.ros.connect_timeout
        again = time.monotonic() + _PATIENCE
        while not self._listener.passed(self._answered):
            time.sleep(0.0005)
            if time.monotonic() > again:
                self._send(position)
                self._commands.pop()
                again = time.monotonic() + _PATIENCE
            if time.monotonic() > deadline:
                waited = self.spec.ros.connect_timeout
                raise RobotTimeout(f"the simulator did not answer a command within {waited:g} s")

    def _pause(self, seconds: float) -> None:
        self.session.check()
        time.sleep(seconds)


def holding(spec: RobotSpec, state: RobotState) -> Array:
    """The command, (n,), that leaves a robot as it stands: its position, and beyond it what gives the torque it has."""
    position = np.asarray(state.joint_position)
    if state.joint_effort is not None:
        # torque = kp (command - position)
        position = position + np.clip(state.joint_effort / spec.kp, -0.3, 0.3)
    return np.clip(position, spec.lower, spec.upper)
