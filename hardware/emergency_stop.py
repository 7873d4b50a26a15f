"""The ways in which a person stops a robot: a service, a topic, a button of a joystick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger


class EmergencyStop:
    """Calls one function whichever way is taken.

    Services `NAME/stop` and `NAME/RESET`; topic `estop`, true to stop; a button on `joy`. While the topic says true or
    the button is down, a reset is refused.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        button: int,
        stop: Callable[[str], None],
        reset: Callable[[], str],
        reset_name: str = "reset",
    ) -> None:
        """Listens.

        Args:
            node: to listen with.
            name: before the services.
            button: index in `joy.buttons`; below 0 for none.
            stop: called with who asked, from the thread of the node.
            reset: ends the stop; returns what it was.
            reset_name: of its service.
        """
        self._stop, self._reset = stop, reset
        self._button = button
        self._held: set[str] = set()
        node.create_service(Trigger, f"{name}/stop", self._take_stop)
        node.create_service(Trigger, f"{name}/{reset_name}", self._take_reset)
        node.create_subscription(Bool, "estop", self._take_topic, 10)
        if button >= 0:
            node.create_subscription(Joy, "joy", self._take_joy, 10)

    def _take_stop(self, _request: Any, response: Any) -> Any:
        self._stop("emergency stop: service")
        response.success, response.message = True, "stopped"
        return response

    def _take_reset(self, _request: Any, response: Any) -> Any:
        if self._held:
            response.success, response.message = False, f"still stopped by: {', '.join(sorted(self._held))}"
            return response
        was = self._reset()
        response.success, response.message = True, f"reset; was {was}" if was else "was not stopped"
        return response

    def _take_topic(self, message: Bool) -> None:
        self._set("topic estop", message.data)

    def _take_joy(self, message: Joy) -> None:
        if self._button < len(message.buttons):
            self._set(f"joystick button {self._button}", bool(message.buttons[self._button]))

    def _set(self, source: str, down: bool) -> None:
        if down:
            if source not in self._held:
                self._held.add(source)
                self._stop(f"emergency stop: {source}")
        else:
            self._held.discard(source)
