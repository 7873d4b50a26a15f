"""The ways in which a person stops a robot: a service, a topic, a button of a joystick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hardware.robot_side import KEPT
from robot_rl.errors import RobotFault

_TOPIC = "topic estop"
_LIVE = (
    QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE),
    QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT),
)
"""Of two subscriptions that together hear every publisher, with the reliability that it offers; what comes twice stops
no more than once."""
_LOOK = 0.2
"""s between looks for a publisher that keeps its last message for those who come late."""


class EmergencyStop:
    """Calls one function whichever way is taken, from `listen` on.

    Services `NAME/stop` and `NAME/RESET`; topic `estop`, true to stop; a button on `joy`. While the topic says true or
    the button is down, a reset is refused. What is held down stays so until it is heard to be let go, also where nobody
    listens for a while between two nodes.
    """

    def __init__(self, stop: Callable[[str], None], reset: Callable[[], str], stopped: Callable[[], str]) -> None:
        """Holds nothing yet.

        Args:
            stop: called with who asked, from the thread of the node.
            reset: ends the stop; returns what it was.
            stopped: why the robot is stopped; empty while it is not.
        """
        self._stop, self._reset, self._stopped = stop, reset, stopped
        self._button = -1
        self._held: set[str] = set()

    def listen(self, node: Node, name: str, button: int, reset_name: str = "reset") -> None:
        """Listens for as long as a node lives.

        Args:
            node: to listen with.
            name: before the services.
            button: index in `joy.buttons`; below 0 for none.
            reset_name: of its service.
        """
        self._button = button
        self._held &= {_TOPIC, self._joystick}  # another button would never be heard to be let go
        node.create_service(Trigger, f"{name}/stop", self._take_stop)
        node.create_service(Trigger, f"{name}/{reset_name}", self._take_reset)
        self._subscribe(node, Bool, "estop", self._take_topic)
        if button >= 0:
            self._subscribe(node, Joy, "joy", self._take_joy)

    @property
    def held(self) -> str:
        """What is held down now; empty if nothing is."""
        return ", ".join(sorted(list(self._held)))

    def reset(self) -> str:
        """Ends the stop, from any thread; returns what it was.

        Raises:
            RobotFault: something is held down; the stop stays.
        """
        was = "" if self._held else self._reset()
        if self._held:
            if not self._stopped():  # pressed while the stop before was being ended
                self._stop(f"emergency stop: {self.held}")
            raise RobotFault(f"still stopped by: {self.held}")
        return was

    @property
    def _joystick(self) -> str:
        return f"joystick button {self._button}"

    def _subscribe(self, node: Node, kind: type, topic: str, take: Callable[[Any], None]) -> None:
        # A best-effort publisher does not suit the reliable one of both, and a warning that it is not heard is false.
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)
        for quality in _LIVE:
            node.create_subscription(kind, topic, take, quality, event_callbacks=quiet)
        name = node.resolve_topic_name(topic)

        def look() -> None:
            """Only where one is there: every other publisher would warn that it is not heard, of an emergency stop."""
            if any(info.qos_profile.durability == KEPT.durability for info in node.get_publishers_info_by_topic(name)):
                timer.cancel()
                node.create_subscription(kind, topic, take, KEPT, event_callbacks=quiet)

        timer = node.create_timer(_LOOK, look)

    def _take_stop(self, _request: Any, response: Any) -> Any:
        self._stop("emergency stop: service")
        response.success, response.message = True, "stopped"
        return response

    def _take_reset(self, _request: Any, response: Any) -> Any:
        try:
            was = self.reset()
        except RobotFault as error:
            response.success, response.message = False, str(error)
        else:
            response.success, response.message = True, f"reset; was {was}" if was else "was not stopped"
        return response

    def _take_topic(self, message: Bool) -> None:
        self._set(_TOPIC, message.data)

    def _take_joy(self, message: Joy) -> None:
        if self._button < len(message.buttons):
            self._set(self._joystick, bool(message.buttons[self._button]))

    def _set(self, source: str, down: bool) -> None:
        if not down:
            self._held.discard(source)
            return
        new = source not in self._held
        self._held.add(source)  # first, so that a reset at this moment finds it
        if new or not self._stopped():
            self._stop(f"emergency stop: {source}")
