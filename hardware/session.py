"""A node and the thread that serves it, from the first moment to an orderly end."""

from __future__ import annotations

import os
import threading
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

# Fast DDS would otherwise announce itself to the whole network. Who wants that sets the variable.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


class RosSession:
    """One ROS context with one node, whose callbacks run in a thread of their own.

    Signals stay with the program: ROS must still be alive when Ctrl-C makes a robot safe.

    Attributes:
        node: the node.
    """

    def __init__(self, name: str, namespace: str = "", node_class: type[Node] = Node, **options: Any) -> None:
        """Joins the ROS network; nothing is received before `start`.

        Args:
            name: of the node.
            namespace: before all relative topic names.
            node_class: Node or LifecycleNode.
            options: for the node.
        """
        self.context = Context()
        rclpy.init(context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = node_class(name, context=self.context, namespace=namespace, **options)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._ended = False

    def start(self) -> None:
        """Begins to receive, once all subscriptions are made."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._spin, name="ros")
            self._thread.start()

    def check(self) -> None:
        """Raises here what a callback raised in the other thread."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Ends the thread, then the node, then ROS; may be called any number of times."""
        if not self.context.ok() and self._thread is None:
            return
        self._ended = True
        self._executor.shutdown()
        if self._thread is not None and self._thread is not threading.current_thread():
            # A spinning thread that is left behind aborts the whole process at its end.
            self._thread.join()
            self._thread = None
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def _spin(self) -> None:
        try:
            # A program that ends without closing, by an error say, must not wait for this thread for ever.
            while not self._ended and threading.main_thread().is_alive():
                self._executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            pass
        except BaseException as error:
            self._failure = error
