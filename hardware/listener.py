"""Hears everything that a robot says on its topics, raw and unjudged, for the doctor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, JointState

from hardware import messages
from hardware.sensor_topics import IMU_SENSORS
from hardware.window import ImuValues, JointValues, Sample, TopicFacts, Window
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class Listener:
    """Subscribes to all topics that a robot's sensors need, and keeps every message."""

    def __init__(self, spec: RobotSpec, node: Node, lock_step: bool) -> None:
        """Args: spec: the robot; node: to subscribe with; lock_step: whether the other side waits for commands."""
        self.spec, self._node, self._lock_step = spec, node, lock_step
        self._samples: dict[str, list[Sample]] = {}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._command_topic = node.resolve_topic_name(spec.ros.command_topic)
        self._add("joint_states", JointState, spec.ros.joint_states, _joints)
        if any(name in spec.sensors for name in IMU_SENSORS):
            self._add("imu", Imu, spec.ros.imu, _imu)
        if "contacts" in spec.sensors:
            for foot in spec.feet:
                self._add(f"contact {foot}", WrenchStamped, spec.ros.contacts.format(foot=foot), _force)
        if "objects" in spec.sensors:
            for name in spec.objects:
                self._add(f"object {name}", Odometry, spec.ros.objects.format(object=name), lambda _: None)

    @property
    def complete(self) -> bool:
        """Whether every topic has given a message."""
        return all(self._samples.values())

    @property
    def joint_states(self) -> Sequence[Sample]:
        """All that came."""
        return self._samples["joint_states"]

    def passed(self, stamp: float) -> bool:
        """Whether every topic that speaks at all has gone beyond a stamp."""
        return not any(samples and samples[-1].stamp <= stamp for samples in self._samples.values())

    def forget(self) -> None:
        """Drops what was heard so far but the newest, which a command may have to answer."""
        for samples in self._samples.values():
            del samples[:-1]

    def window(self, commands: Sequence[tuple[float, Array]]) -> Window:
        """What was heard so far; `commands`: (s, (n,)), what was commanded when."""
        node = self._node
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
            lock_step=self._lock_step,
            commands=list(commands),
            seen=seen,
            commanders=[p.node_name for p in others(self._command_topic)],
            listeners=node.count_subscribers(self._command_topic),
        )

    def _add(self, name: str, kind: type, topic: str, read: Callable[[Any], Any]) -> None:
        reliable = self.spec.ros.reliability == "reliable" or self._lock_step
        quality = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=20,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        samples = self._samples.setdefault(name, [])
        subscription = self._node.create_subscription(kind, topic, partial(_take, samples, read), quality)
        self._wanted[name] = (subscription.topic_name, f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}")

    def _whole(self, samples: list[Sample]) -> list[Sample]:
        """The samples so far; where a simulator sent one again because it waited, only the first."""
        taken = list(samples)
        if not self._lock_step:
            return taken
        return [s for k, s in enumerate(taken) if k == 0 or s.stamp != taken[k - 1].stamp]


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
