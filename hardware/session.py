"""A node and the thread that serves it, from the first moment to an orderly end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier

RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Fast DDS's settings: the name of the variable in its second version, and the newer one."""
LOOPBACK = Path(__file__).with_name("loopback.xml")


def stay_on_this_machine() -> None:
    """Keeps this process and its children on the loopback interface, unless the environment says otherwise.

    ROS by itself announces a node to the whole network; whoever wants that sets `ROS_AUTOMATIC_DISCOVERY_RANGE`.
    Its range LOCALHOST is not enough on Fast DDS: the sockets are still bound to every interface, and messages go
    through shared memory, where what a killed process leaves behind can keep its successor deaf: it sees the robot's
    topics and gets no message (eProsima/Fast-DDS#5053, #5469). Sockets die with their process. So Fast DDS gets
    settings of ours, where it has none yet.
    """
    if os.environ.setdefault(RANGE, "LOCALHOST") != "LOCALHOST" or os.environ.get("ROS_STATIC_PEERS"):
        return
    if get_rmw_implementation_identifier().startswith("rmw_fastrtps") and not any(map(os.environ.get, PROFILES)):
        os.environ.update(dict.fromkeys(PROFILES, str(LOOPBACK)))
        # With LOCALHOST, in its new or its old form, ROS would add its own transports to those of the file.
        os.environ[RANGE] = "SYSTEM_DEFAULT"
        os.environ.pop("ROS_LOCALHOST_ONLY", None)


def on_this_machine() -> bool:
    """Whether this process has joined the network with the settings of `stay_on_this_machine`."""
    return str(LOOPBACK) in map(os.environ.get, PROFILES)


stay_on_this_machine()


class RosSession:
    """One ROS context with one node, whose callbacks run in a thread of their own.

    Signals stay with the program: ROS must still be alive when Ctrl-C makes a robot safe.

    Attributes:
        node: the node.
        leaving: set when whoever waits for something in this session shall give up.
    """

    def __init__(
        self,
        name: str,
        namespace: str = "",
        node_class: type[Node] = Node,
        beside: RosSession | None = None,
        forgiving: bool = False,
        **options: Any,
    ) -> None:
        """Joins the ROS network; nothing is received before `start`.

        Args:
            name: of the node.
            namespace: before all relative topic names.
            node_class: Node or LifecycleNode.
            beside: a session whose context this one shares, and which is closed after it.
            forgiving: whether a callback that fails is only logged, where strangers may call it wrongly.
            options: for the node.
        """
        self._beside = beside
        self._forgiving = forgiving
        self.leaving = threading.Event()
        self.context: Context = beside.context if beside else Context()
        if beside is None:
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

    def call(self, function: Callable[[], Any]) -> Call:
        """Runs a function in the thread that serves this session, after what it is doing now."""
        call = Call(function)
        self._executor.create_task(call.run)
        return call

    def check(self) -> None:
        """Raises here what a callback raised in the other thread."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Ends the thread, then the node, then ROS; may be called any number of times."""
        if self._ended:
            return
        self._ended = True
        self.leaving.set()
        self._executor.shutdown()
        if self._thread is not None and self._thread is not threading.current_thread():
            # A spinning thread that is left behind aborts the whole process at its end.
            self._thread.join()
            self._thread = None
        self.node.destroy_node()
        if self._beside is None:
            rclpy.try_shutdown(context=self.context)

    def _spin(self) -> None:
        try:
            # A program that ends without closing, by an error say, must not wait for this thread for ever.
            while not self._ended and threading.main_thread().is_alive():
                self._spin_once()
        except ExternalShutdownException:
            pass
        except BaseException as error:
            self._failure = error

    def _spin_once(self) -> None:
        try:
            self._executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            raise
        except Exception as error:
            if not self._forgiving:
                raise
            self.node.get_logger().error(f"a callback failed: {error}")


class Call:
    """A function on its way through another thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        """Args: function: to run."""
        self._function = function
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Runs it, in the thread that shall."""
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it has run, after waiting up to `timeout` s."""
        return self._done.wait(timeout)

    def result(self) -> Any:
        """What it returned; raises what it raised. Waits for it."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value
