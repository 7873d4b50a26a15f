"""Feeds a recorder with what goes over ROS topics, byte by byte as it comes over the wire."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from hardware.message_types import message_class
from hardware.recorder import Recorder
from hardware.sensor_topics import ODOMETRY_WAIT, sources
from hardware.session import RosSession
from robot_rl.errors import ConfigurationError, RobotTimeout, StorageError
from robot_rl.spec import RobotSpec

SHARED = ("/clock", "/diagnostics", "/joy", "/rosout", "/tf", "/tf_static")
"""Topics outside a robot's namespace that tell of it too."""
OWN = ("/parameter_events", "/rosout")
"""Topics of every node, this one too."""
LARGE = (
    "nav_msgs/msg/OccupancyGrid",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/PointCloud",
    "sensor_msgs/msg/PointCloud2",
)
"""Types that are left out unless they are asked for."""
_LOOK = 0.25
"""s between two looks for new topics."""


class TopicTap:
    """Subscribes to topics as they appear, with the quality of service that their publishers offer.

    Attributes:
        recorded: topics that are recorded.
        heard: those of which a message has come.
        left_out: those that cannot be, and why.
    """

    def __init__(
        self, node: Node, recorder: Recorder, spec: RobotSpec, topics: Sequence[str] = (), everything: bool = False
    ) -> None:
        """Begins to look for topics.

        Args:
            node: to subscribe with, in the robot's namespace; its executor runs in another thread.
            recorder: gets the messages.
            spec: the robot.
            topics: only these, where some are given; relative ones are in the namespace.
            everything: all topics that can be seen, pictures and point clouds too.
        """
        self.recorded: set[str] = set()
        self.heard: set[str] = set()
        self.left_out: dict[str, str] = {}
        self._node, self._recorder = node, recorder
        self._everything = everything
        self._only = {node.resolve_topic_name(topic) for topic in topics}
        self._namespace = node.get_namespace().rstrip("/") + "/"
        self._sensors = {node.resolve_topic_name(source.topic) for source in sources(spec).values()}
        self._odometry = node.resolve_topic_name(spec.ros.odometry)
        self.of_robot = {*self._sensors, node.resolve_topic_name(spec.ros.command_topic)}
        """Full names of the topics in the robot's file."""
        self._look()
        node.create_timer(_LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def wait_ready(self, timeout: float) -> bool:
        """Waits until every sensor of the robot has been heard once; whether that came true.

        Odometry that nobody is seen to publish within a second after all else was heard does not count: many robots
        have none.
        """
        deadline = time.monotonic() + timeout
        without = None  # when nothing but odometry was missing any more
        while (now := time.monotonic()) < deadline:
            missing = self._sensors - self.heard
            if not missing:
                return True
            if missing == {self._odometry}:
                without = without or now
                if now - without >= ODOMETRY_WAIT and not self._node.count_publishers(self._odometry):
                    return True
            time.sleep(0.02)
        return False

    def _take(self, topic: str, kind: str, content: bytes, about: Mapping[str, int]) -> None:
        self.heard.add(topic)
        # The time of its arrival on this machine: on a busy one it waits in a queue until it gets here.
        self._recorder.message(topic, kind, content, about["received_timestamp"])

    def _wanted(self, topic: str, kind: str) -> bool:
        if self._only:
            return topic in self._only
        near = topic.startswith(self._namespace) or topic in SHARED or topic in self.of_robot
        return self._everything or (near and kind not in LARGE)

    def _look(self) -> None:
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic in self.recorded or topic in self.left_out or not self._wanted(topic, kinds[0]):
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                try:
                    self._subscribe(topic, publishers)
                except ConfigurationError as error:
                    self.left_out[topic] = str(error)

    def _subscribe(self, topic: str, publishers: Sequence[Any]) -> None:
        kind = publishers[0].topic_type
        self._recorder.types.definition(kind)
        offered = [publisher.qos_profile for publisher in publishers]
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=1000 if kind not in LARGE else 10,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

        def take(content: bytes, about: Mapping[str, int]) -> None:
            self._take(topic, kind, content, about)

        listen: Any = take  # rclpy passes the second argument where there is one; its types do not say so
        self._node.create_subscription(message_class(kind), topic, listen, quality, raw=True)
        self.recorded.add(topic)


class TopicRecording:
    """Records a robot's topics from outside, beside whatever else listens to it or commands it."""

    def __init__(
        self,
        folder: str | Path,
        spec: RobotSpec,
        namespace: str = "",
        topics: Sequence[str] = (),
        everything: bool = False,
        part: float = 60.0,
    ) -> None:
        """Joins the ROS network.

        Args:
            folder: of the bag; new or empty.
            spec: the robot.
            namespace: of its topics.
            topics: only these, where some are given.
            everything: all topics that can be seen, pictures and point clouds too.
            part: s after which a new file begins; more than that a kill does not cost.
        """
        self.spec = spec
        self._part = part
        self._ended = False
        self.seen = "stopped before it looked"
        self.recorder = Recorder(folder, spec, namespace=namespace)
        self._session = RosSession("recorder", namespace)
        try:
            self.tap = TopicTap(self._session.node, self.recorder, spec, topics, everything)
            self._session.start()
        except BaseException:
            self.close()
            raise

    def run(self, seconds: float = float("inf")) -> None:
        """Records until `end` is called from a signal handler or another thread.

        Args:
            seconds: at most, from the first message on.

        Raises:
            RobotTimeout: nothing was there to record.
            StorageError: the disk failed; what was complete before is kept.
        """
        try:
            self.recorder.begin_part()
            # Discovery takes up to some seconds, which are not what was asked for.
            self._wait(time.monotonic() + min(seconds, self.spec.ros.connect_timeout), heard=True)
            until = time.monotonic() + seconds
            while not self._ended and not self.recorder.fault and time.monotonic() < until:
                self._wait(min(until, time.monotonic() + self._part))
                if time.monotonic() < until:
                    self.recorder.begin_part()
        finally:
            self.close()
        if self.recorder.fault:
            raise StorageError(self.recorder.fault)
        if not self.tap.recorded - set(OWN):
            raise RobotTimeout(f"nothing to record: robot {self.spec.name!r} was not there; {self.seen}")

    def end(self) -> None:
        """Makes `run` return."""
        self._ended = True

    def close(self) -> None:
        """Leaves the network and completes the bag."""
        self._session.close()
        self.recorder.close()

    @property
    def missing(self) -> list[str]:
        """Topics of the robot's file that nobody publishes."""
        return sorted(self.tap.of_robot - self.tap.recorded)

    def _wait(self, until: float, heard: bool = False) -> None:
        """Waits, with `heard` only until the first message of the robot has come."""
        while not self._ended and not self.recorder.fault and time.monotonic() < until:
            if heard and self.tap.heard & self.tap.of_robot:
                return
            self._session.check()
            time.sleep(0.05)
        self.seen = self._seen()

    def _seen(self) -> str:
        others = sorted(topic for topic, _ in self._session.node.get_topic_names_and_types() if topic not in OWN)
        return f"topics seen: {', '.join(others)}" if others else "no topics seen; is ROS_DOMAIN_ID the same?"
