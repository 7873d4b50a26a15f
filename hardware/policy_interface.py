"""What a configured policy node hears and tells on topics, in the thread that receives the robot's messages.

So it is served while a transition runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Temperature
from std_msgs.msg import Float64MultiArray, Header

from hardware.diagnostics import diagnostics
from hardware.knobs import Knobs
from hardware.policy_loop import PolicyLoop
from robot_rl.errors import RobotRLError

Stop = Callable[[str, str], None]
"""Stops the robot, for a reason, by a check of that name."""

_HEARTBEATS = 50.0
"""Hz, at most."""


class PolicyInterface:
    """Velocity commands, weights and temperatures in; heartbeat and diagnostics out."""

    def __init__(self, node: Node, name: str, loop: PolicyLoop, knobs: Knobs, stop: Stop) -> None:
        """Opens everything, for as long as the node lives.

        Args:
            node: to hear and tell with.
            name: of the policy node, before its own topics and services.
            loop: to tell about, and to command.
            knobs: of its policy.
            stop: stops the robot.
        """
        self._node, self._name = node, name
        self._loop, self._knobs, self._stop = loop, knobs, stop
        spec = loop.robot.spec
        if loop.goals.walks:
            node.create_subscription(Twist, "cmd_vel", self._take_velocity, 1)
        if knobs.composed:
            node.create_subscription(Float64MultiArray, f"{name}/weights", self._take_weights, 1)
        quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Temperature, spec.ros.temperature, self._take_temperature, quality)
        self._heartbeat = node.create_publisher(Header, f"{name}/heartbeat", 1)
        self._every, self._ticks = max(1, round(spec.control_rate / _HEARTBEATS)), 0
        loop.on_tick = self._beat
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(1.0, self.publish)
        node.create_timer(1.0, self._look_for_second)

    def publish(self) -> None:
        """Tells the diagnostics now."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[diagnostics(self._name, self._loop)]))

    def _beat(self, phase: str) -> None:
        """Of the control loop, in its thread."""
        if self._ticks % self._every == 0:
            self._heartbeat.publish(Header(stamp=self._node.get_clock().now().to_msg(), frame_id=phase))
        self._ticks += 1

    def _look_for_second(self) -> None:
        """Two that began at the same moment did not see each other then; here both do, and both stop."""
        other = self._loop.robot.other_commander() if self._loop.running else ""
        if other:
            self._stop(f"somebody else commands the robot too: node {other!r}", "second_commander")

    def _take_velocity(self, message: Twist) -> None:
        loop, forward, left, turn = self._loop, message.linear.x, message.linear.y, message.angular.z
        try:
            if not loop.goals.command_velocity(forward, left, turn, time.monotonic()):
                taken = "it stands" if loop.goals.now(time.monotonic()).stand else "its edge is taken"
                reason = f"({forward:g}, {left:g}, {turn:g}) is outside of what the policy saw in training; {taken}"
                loop.supervision.warn("cmd_vel", reason)
        except RobotRLError as error:
            loop.supervision.warn("cmd_vel", str(error))

    def _take_weights(self, message: Float64MultiArray) -> None:
        try:
            self._knobs.set("weights", list(message.data))
        except RobotRLError as error:
            self._loop.supervision.warn("weights", str(error))

    def _take_temperature(self, message: Any) -> None:
        self._loop.supervision.check_temperature(message.header.frame_id, message.temperature)
