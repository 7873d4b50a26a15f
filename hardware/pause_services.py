"""Services to pause a training and to go on: `ros2 service call /train/pause std_srvs/srv/Trigger`."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger


class PauseServices:
    """`train/pause` and `train/resume`, in the node's namespace.

    Attributes:
        paused: whether training shall stand still.
    """

    def __init__(self, node: Node) -> None:
        """Args: node: that offers them; its executor runs in another thread."""
        self.paused = False
        node.create_service(Trigger, "train/pause", self._pause)
        node.create_service(Trigger, "train/resume", self._resume)

    def _pause(self, _request: Any, response: Any) -> Any:
        self.paused = True
        response.success, response.message = True, "pausing at the next tick; train/resume goes on"
        return response

    def _resume(self, _request: Any, response: Any) -> Any:
        self.paused = False
        response.success, response.message = True, "going on with a new episode"
        return response
