"""Examines whatever answers on a robot's topics: listens, then bends one joint at a time a little."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.bends import Bend, active_findings, stirred
from hardware.checks import passive_findings
from hardware.finding import Finding
from hardware.installation import both_installed
from hardware.session import RosSession
from hardware.window import ImuValues, JointValues, Sample, TopicFacts, Window
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
        self._samples: dict[str, list[Sample]] = {}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._commands: list[tuple[float, Array]] = []
        self._order = messages.JointOrder(spec.joint_names)
        self._publisher: Any = None
        self._answered = 0.0
        self._rate: Rate | None = None
        self._home: Array | None = None
        try:
            self._listen()
            self._odometry = self.session.node.resolve_topic_name(spec.ros.odometry)
            self._command_topic = self.session.node.resolve_topic_name(spec.ros.command_topic)
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
        while time.monotonic() < deadline and not all(self._samples[name] for name in self._wanted):
            self._pause(0.05)
        early = passive_findings(self.window())
        if self.settings.lock_step:
            if not any(finding.blocks for finding in early):
                problem = self._settle()
                if problem is not None:
                    return [*found, *early, problem]
        elif self._samples["joint_states"]:
            self._forget()
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
            advice = "the robot is left to its own watchdog; find out why it fell silent"
            found = f"ended: {error}"
            return [Finding("bends", found, "readings all the time", "fail", advice, blocks=True), *self._readings()]

    def _readings(self) -> list[Finding]:
        """What is wrong with the readings by now."""
        return [finding for finding in passive_findings(self.window()) if finding.verdict == "fail"]

    def _bend(self, progress: Callable[[str], None]) -> list[Finding]:
        spec, node = self.spec, self.session.node
        if spec.ros.command not in ("position", "trajectory"):
            found = f"the robot takes {spec.ros.command} commands"
            return [Finding("bends", found, "position or trajectory", "unknown", "bend joints by hand and compare")]
        if self._publisher is None:
            kind = JointTrajectory if spec.ros.command == "trajectory" else Float64MultiArray
            quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
            self._publisher = node.create_publisher(kind, self._command_topic, quality)
            deadline = time.monotonic() + 5.0
            while self._publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
                self._pause(0.05)
        if not self.settings.lock_step:
            self._forget()
            self._pause(0.2)
        state = self.window().mean_state(self._now() - 0.5)
        assert state is not None
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
            done = self._one(home, before, joint, amplitude)
            if isinstance(done, Finding):
                return [done]
            bends.append(done)
        self._tick(home)
        return active_findings(self.window(), bends)

    def window(self) -> Window:
        """What was heard so far."""
        node = self.session.node
        own = (node.get_name(), node.get_namespace())

        def others(topic: str) -> list[Any]:
            return [p for p in node.get_publishers_info_by_topic(topic) if (p.node_name, p.node_namespace) != own]

        facts = {
            name: TopicFacts(
                topic,
                kind,
                tuple(p.topic_type for p in others(topic)),
                tuple(p.qos_profile.reliability.name.lower() for p in others(topic)),
            )
            for name, (topic, kind) in self._wanted.items()
        }
        names = [topic for topic, _ in node.get_topic_names_and_types()]
        seen = sorted(t for t in names if t not in ("/rosout", "/parameter_events") and others(t))
        return Window(
            spec=self.spec,
            facts=facts,
            samples={name: self._whole(samples) for name, samples in self._samples.items()},
            lock_step=self.settings.lock_step,
            commands=list(self._commands),
            seen=seen,
            commanders=[p.node_name for p in others(self._command_topic)],
            listeners=node.count_subscribers(self._command_topic),
            odometry=bool(others(self._odometry)),
        )

    # -- moving -------------------------------------------------------------------------------------------------------

    def _one(self, home: Array, before: Array, joint: int, amplitude: float) -> Bend | Finding:
        began = self._now()
        height = ended = began
        ramp, stay, rest = (self._ticks(s) for s in (_RAMP, _HEIGHT, _PAUSE))
        up = 0.5 * (1.0 - np.cos(np.pi * np.arange(1, ramp + 1) / ramp))
        for tick, share in enumerate(np.concatenate([up, np.ones(stay), up[::-1], np.zeros(rest)])):
            command = home.copy()
            command[joint] += amplitude * share
            now = self._tick(command)
            if tick == ramp + stay - 1:
                height = self._now()
            ended = self._now()
            away = np.abs(now - before)
            worst = int(np.argmax(away))
            if away[worst] > 4.0 * abs(amplitude) + 0.1:
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
        if self._publisher is None:
            kind = JointTrajectory if self.spec.ros.command == "trajectory" else Float64MultiArray
            quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
            self._publisher = self.session.node.create_publisher(kind, self._command_topic, quality)
        home = holding(self.spec, first)
        # Readings that break off, or lose a joint, are seen by the checks that follow.
        with suppress(RobotFault, InvalidInput):
            for _ in range(self._ticks(_SETTLE)):
                problem = stirred(self.spec, np.asarray(first.joint_position), self._tick(home), _LANDING)
                if problem is not None:
                    return problem
            state = self.window().mean_state(self._now() - 0.3)
            self._home = home if state is None else holding(self.spec, state)
            self._forget()
            for _ in range(self._ticks(self.settings.seconds)):
                self._tick(self._home)
        return None

    def _ticks(self, seconds: float) -> int:
        return max(1, round(seconds * self.spec.control_rate))

    def _now(self) -> float:
        """s, by the clock of the window."""
        if self.settings.lock_step:
            samples = self._samples["joint_states"]
            return samples[-1].stamp if samples else 0.0
        return time.monotonic()

    def _tick(self, position: Array) -> Array:
        """Sends a command, waits one tick, and returns the joints as read, (n,)."""
        self.session.check()
        self._send(position)
        if self.settings.lock_step:
            self._await_reading(position)
        else:
            if self._rate is None:
                self._rate = Rate(self.spec.control_dt)
            self._rate.wait()
        newest = self._samples["joint_states"][-1]
        silent = time.monotonic() - newest.received
        if silent > self.spec.ros.state_timeout and not self.settings.lock_step:
            raise RobotTimeout(f"{self._wanted['joint_states'][0]} has been silent for {silent:.3f} s")
        value = newest.value
        index = self._order.index(list(value.names))
        return np.array(value.position)[index]

    def _send(self, position: Array) -> None:
        spec, samples = self.spec, self._samples["joint_states"]
        answered = samples[-1].stamp if samples else 0.0
        self._answered = answered
        if spec.ros.command == "trajectory":
            message = messages.write_trajectory(spec.joint_names, position, answered, spec.control_dt)
        else:
            message = messages.write_command(position, answered)
        self._publisher.publish(message)
        self._commands.append((self._now(), position.copy()))

    def _await_reading(self, position: Array) -> None:
        """Waits for a whole set of readings newer than the one that the last command answered."""
        deadline = time.monotonic() + self.spec.ros.connect_timeout
        again = time.monotonic() + _PATIENCE
        while any(s and s[-1].stamp <= self._answered for s in self._samples.values()):
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

    # -- listening ----------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        spec = self.spec
        self._add("joint_states", JointState, spec.ros.joint_states, _joints)
        if any(name in spec.sensors for name in ("orientation", "angular_velocity", "linear_acceleration")):
            self._add("imu", Imu, spec.ros.imu, _imu)
        if "contacts" in spec.sensors:
            for foot in spec.feet:
                self._add(f"contact {foot}", WrenchStamped, spec.ros.contacts.format(foot=foot), _force)
        if "objects" in spec.sensors:
            for name in spec.objects:
                self._add(f"object {name}", Odometry, spec.ros.objects.format(object=name), lambda _: None)

    def _add(self, name: str, kind: type, topic: str, read: Callable[[Any], Any]) -> None:
        reliable = self.spec.ros.reliability == "reliable" or self.settings.lock_step
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=20,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        samples = self._samples.setdefault(name, [])
        subscription = self.session.node.create_subscription(kind, topic, partial(_take, samples, read), quality)
        self._wanted[name] = (subscription.topic_name, f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}")

    def _forget(self) -> None:
        """Drops what was heard so far but the newest, which a command may have to answer."""
        for samples in self._samples.values():
            del samples[:-1]

    def _whole(self, samples: list[Sample]) -> list[Sample]:
        """The samples so far; where a simulator sent one again because it waited, only the first."""
        taken = list(samples)
        if not self.settings.lock_step:
            return taken
        return [s for k, s in enumerate(taken) if k == 0 or s.stamp != taken[k - 1].stamp]


def holding(spec: RobotSpec, state: RobotState) -> Array:
    """The command, (n,), that leaves a robot as it stands: its position, and beyond it what gives the torque it has."""
    position = np.asarray(state.joint_position)
    if state.joint_effort is not None:
        # torque = kp (command - position)
        position = position + np.clip(state.joint_effort / spec.kp, -0.3, 0.3)
    return np.clip(position, spec.lower, spec.upper)


def _take(samples: list[Sample], read: Callable[[Any], Any], message: Any) -> None:
    stamp = messages.seconds(message.header.stamp)
    samples.append(Sample(stamp, time.monotonic(), time.time() - stamp, read(message)))


def _joints(message: JointState) -> JointValues:
    return JointValues(tuple(message.name), tuple(message.position), tuple(message.velocity), tuple(message.effort))


def _imu(message: Imu) -> ImuValues:
    q, w, a = message.orientation, message.angular_velocity, message.linear_acceleration
    return ImuValues((q.x, q.y, q.z, q.w), (w.x, w.y, w.z), (a.x, a.y, a.z))


def _force(message: WrenchStamped) -> float:
    return message.wrench.force.z
