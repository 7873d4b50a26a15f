"""Puts a robot's topics together into one RobotState."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from hardware import messages
from hardware.finding import joints_named
from hardware.freshness import REPEATS, Freshness, Transit
from hardware.sensor_topics import BASE_SENSORS, ODOMETRY_WAIT, Source, sources, state_of
from robot_rl.arrays import frozen
from robot_rl.errors import InvalidInput, RobotTimeout
from robot_rl.leg_odometry import LegOdometry, can_estimate
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

class Reading(NamedTuple):
    """The newest good message of one topic."""

    stamp: float
    """s, of the robot's clock."""
    received: float
    """s, of ours."""
    late: float
    """s it took longer than the quickest."""
    sent: float
    """s, of ours, when a message as quick as the quickest would have been received; where the robot's clock waits, the
    last time that it said this."""
    value: Any


class StateReceiver:
    """Listens to all topics of a robot.

    A message that is refused does not replace the one before, so a stream of bad ones ends as a state that is too old;
    the error then says why they were refused.

    Attributes:
        topics: full name of each topic that the robot's sensors need, by a short name.
        refused: the last reason for refusing a message, by the same names.
        refusals: how many were refused so far.
        on_joints: called with position and velocity, each (n,), at every good joint state, in the thread that receives.
    """

    def __init__(self, spec: RobotSpec, node: Node, paced: bool = True, leaving: threading.Event | None = None) -> None:
        """Subscribes.

        Args:
            spec: the robot.
            node: to subscribe with.
            paced: whether the robot's clock runs as ours; False for a simulator that waits.
            leaving: makes all waiting end at once.
        """
        self.spec = spec
        self.topics: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.refusals = 0
        self._node = node
        self._paced = paced
        self._leaving = leaving or threading.Event()
        self._changed = threading.Condition()
        self._readings: dict[str, Reading] = {}
        self._odometry: LegOdometry | None = None
        self._estimated_from: tuple[float, ...] = ()
        self.on_joints: Callable[[Array, Array], None] | None = None
        self._base_needed = any(name in spec.sensors for name in BASE_SENSORS)
        for name, source in sources(spec).items():
            self._add(name, source)
        self._sources = [name for name in self.topics if name.split()[0] in ("joint_states", "imu", "contact")]
        self._needed = [name for name in self.topics if name != "odometry" or self._base_needed]

    @property
    def provides(self) -> frozenset[str]:
        """What its states hold: the spec's sensors, and the base's motion once odometry has come."""
        return frozenset({*self.spec.sensors, *(BASE_SENSORS if "odometry" in self._readings else ())})

    def wait_ready(self, timeout: float) -> None:
        """Waits until every topic has given a good message; then a little for odometry, if somebody sends it.

        Raises:
            RobotTimeout: some did not; lists them, and what can be seen instead.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while missing := [name for name in self._needed if name not in self._readings]:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RobotTimeout(self._absence(missing, timeout))
                self._go_on()
                self._changed.wait(min(left, 0.1))
            # Who sends it may be discovered later than the others, so absence shows only after a while.
            deadline = min(deadline, time.monotonic() + ODOMETRY_WAIT)
            while "odometry" in self.topics and "odometry" not in self._readings:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 0.1))
            if "odometry" in self.topics and "odometry" not in self._readings and can_estimate(self.spec):
                self._odometry = LegOdometry(self.spec)
                self._estimate()

    @property
    def estimates(self) -> bool:
        """Whether the base's motion comes from legs and IMU, because nobody sends odometry."""
        return self._odometry is not None

    def restart_estimate(self) -> None:
        """Begins the estimate of the base's motion anew from the newest readings: x = y = 0 here."""
        with self._changed:
            if self._odometry is not None:
                self._odometry.reset()
                self._estimated_from = ()
                self._estimate()

    def wait_for(self, stamp: float, timeout: float) -> None:
        """Waits until every topic has a message of that moment or later, for robots whose clock is not ours.

        Raises:
            RobotTimeout: it did not come.
        """

        def missing() -> list[str]:
            return [name for name in self._live() if self._readings[name].stamp < stamp - 1e-6]

        self._wait_while(missing, f"of robot time {stamp:.3f} s", timeout)

    def wait_new(self, timeout: float) -> None:
        """Waits until every topic has a message that was sent after this call.

        What came before may tell of another pose: of before a reset, or before a person put the robot on its feet.

        Raises:
            RobotTimeout: none came.
        """
        now = time.monotonic()

        def missing() -> list[str]:
            heard = (name for name in self._live() if name != "odometry" or not self.estimates)
            return [name for name in heard if self._readings[name].sent <= now]

        self._wait_while(missing, "sent", timeout)

    def wait_fresh(self, timeout: float) -> None:
        """Waits until `read` gives a state: after a fault of the stream is over its next messages are still to come.

        Raises:
            RobotTimeout: it stays too old.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.read(frozen(np.array(self.spec.home)), 0.0)
            except RobotTimeout:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            with self._changed:
                self._go_on()
                self._changed.wait(0.1)

    @property
    def stamp(self) -> float:
        """s, of the newest joint state."""
        return self._readings["joint_states"].stamp

    def read(self, applied: Array, epoch: float) -> tuple[RobotState, float]:
        """The newest state, if it is fresh.

        Args:
            applied: (n,), the command in force.
            epoch: s, the stamp that counts as 0.

        Returns:
            The state, and its age in s: of its oldest part, counted from the moment a message sent at once would have
            arrived.

        Raises:
            RobotTimeout: a topic has been silent, or sending nothing good, for longer than `ros.state_timeout`.
        """
        with self._changed:
            readings = dict(self._readings)
        now = time.monotonic()
        age = 0.0
        for name in self._live():
            reading = readings[name]
            part = now - reading.received + reading.late
            if self._paced and part > self.spec.ros.state_timeout:
                raise RobotTimeout(
                    f"robot {self.spec.name!r}: {self.topics[name]} is {part:.3f} s old, allowed "
                    f"{self.spec.ros.state_timeout:g} s (ros.state_timeout){self._reasons([name])}"
                )
            age = max(age, part)
        return self._state(readings, applied, epoch), age

    def _state(self, readings: Mapping[str, Reading], applied: Array, epoch: float) -> RobotState:
        values = {name: reading.value for name, reading in readings.items()}
        return state_of(self.spec, readings["joint_states"].stamp - epoch, values, applied)

    def _wait_while(self, missing: Callable[[], list[str]], which: str, timeout: float) -> None:
        """Waits until no topic is missing; `which` says which messages are."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while waiting := missing():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise RobotTimeout(
                        f"robot {self.spec.name!r}: no {', '.join(waiting)} {which} in {timeout:g} s of waiting"
                        f"{self._reasons(waiting)}"
                    )
                self._go_on()
                self._changed.wait(min(left, 0.1))

    def _go_on(self) -> None:
        if self._leaving.is_set():
            raise RobotTimeout(f"robot {self.spec.name!r}: no longer waiting for it")

    def _estimate(self) -> None:
        """Takes the base's motion one step on, once every topic that it comes from has something new."""
        parts = {name: self._readings[name] for name in self._sources}
        stamps = tuple(part.stamp for part in parts.values())
        known = self._estimated_from
        if self._odometry is None or (known and any(a <= b for a, b in zip(stamps, known, strict=True))):
            return
        self._estimated_from = stamps
        objects = {name: reading for name, reading in self._readings.items() if name.startswith("object ")}
        motion = self._odometry.update(self._state({**parts, **objects}, frozen(np.array(self.spec.home)), 0.0))
        received, sent = (min(getattr(part, name) for part in parts.values()) for name in ("received", "sent"))
        late = max(part.late for part in parts.values())
        self._readings["odometry"] = Reading(min(stamps), received, late, sent, tuple(motion))

    def _live(self) -> list[str]:
        return [name for name in self.topics if name in self._readings]

    def _add(self, name: str, source: Source) -> None:
        reliable = self.spec.ros.reliability == "reliable" or not self._paced
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=5,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        freshness = Freshness(self.spec.ros.state_timeout, self._paced)
        transit = Transit()

        def take(message: Any, about: Mapping[str, int]) -> None:
            received = time.monotonic()
            stamp = messages.seconds(message.header.stamp)
            if not self._paced:  # its stamps tell nothing of when it sends
                sent = transit.arrival(1e-9 * about["source_timestamp"], received)
            try:
                value = source.read(message)
                late = freshness.check(stamp, received)
                if self._paced:
                    sent = received - late
                if name == "imu":  # it never rests, but the clock of a simulator that waits stands still meanwhile
                    freshness.check_moving(message.angular_velocity, received if self._paced else stamp)
            except InvalidInput as error:
                with self._changed:
                    self.refused[name] = str(error)
                    self.refusals += 1
                    known = self._readings.get(name)
                    if not self._paced and known is not None and known.stamp == stamp:
                        # A simulator that waits says the same again: so it is still.
                        self._readings[name] = known._replace(sent=sent)
                        self._changed.notify_all()
                return
            with self._changed:
                if name == "odometry" and self._odometry is not None:
                    return  # came too late: two sources in turns would make the base jump
                self._readings[name] = Reading(stamp, received, late, sent, value)
                if name in self._sources and self._odometry is not None:
                    self._estimate()
                self._changed.notify_all()
            if self.on_joints is not None and name == "joint_states":
                self.on_joints(value[0], value[1])

        callback: Callable[..., None] = take  # the annotations of rclpy know of one argument only
        subscription = self._node.create_subscription(source.kind, source.topic, callback, quality)
        self.topics[name] = subscription.topic_name
        self.types[name] = type_name(source.kind)

    def _reasons(self, names: list[str]) -> str:
        alike: dict[str, list[str]] = {}
        for name in names:
            if name in self.refused:
                alike.setdefault(self.refused[name], []).append(self.topics[name])
        if not alike:
            return ""
        said = [f"{joints_named(topics, 1)} {reason}" for reason, topics in alike.items()]
        waits = self._paced and list(alike) == [REPEATS]
        hint = "; if it is a twin that waits for commands, give --lock-step (lock_step)" if waits else ""
        return f"; last refused: {'; '.join(said)}{hint}"

    def _absence(self, missing: list[str], timeout: float) -> str:
        """Why the robot cannot be read: each topic, and what there is instead."""
        lines = [self._fault_of(name) for name in missing]
        own = (self._node.get_name(), self._node.get_namespace())
        seen = sorted(
            topic
            for topic, _ in self._node.get_topic_names_and_types()
            if topic.rsplit("/", 1)[-1] not in ("rosout", "parameter_events", "transition_event")
            and any((p.node_name, p.node_namespace) != own for p in self._node.get_publishers_info_by_topic(topic))
        )
        around = (
            f"topics seen: {', '.join(seen)}"
            if seen
            else "no topics seen at all; is the robot on, and ROS_DOMAIN_ID the same on both sides?"
        )
        return f"robot {self.spec.name!r} did not answer within {timeout:g} s: {'; '.join(lines)}; {around}"

    def _fault_of(self, name: str) -> str:
        """Why nothing usable came on one topic."""
        topic, wanted = self.topics[name], self.types[name]
        if name in self.refused:
            return f"{topic} is sent, but every message is refused: it {self.refused[name]}"
        publishers = self._node.get_publishers_info_by_topic(topic)
        others = [p.topic_type for p in publishers if p.topic_type != wanted]
        if others:
            return f"{topic} has the type {others[0]}, expected {wanted}"
        if publishers:
            sent = publishers[0].qos_profile.reliability.name.lower()
            return (
                f"{topic} has a publisher but nothing arrives; it sends {sent}, "
                f"ros.reliability here is {self.spec.ros.reliability}"
            )
        return f"{topic} ({wanted}) has no publisher"


def type_name(kind: type) -> str:
    """`sensor_msgs/msg/Imu` for a message's class."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
