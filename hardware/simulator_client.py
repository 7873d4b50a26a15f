"""Asks a simulator on the other side for what no robot can do: to begin an episode anywhere, at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter as NodeParameter
from std_srvs.srv import Trigger

from robot_rl.errors import RobotFault, RobotTimeout
from robot_rl.robot import Start
from robot_rl.spec import RobotSpec

NODE = "twin"
"""Name of the simulator's node, in the robot's namespace."""
_TIMEOUT = 10.0
"""s."""
_LOOK = 0.1
"""s between two looks whether waiting still makes sense."""


class SimulatorClient:
    """Services of the twin; `present` is False where a real robot answers."""

    def __init__(self, node: Node) -> None:
        """Args: node: to call with; its executor runs in another thread."""
        self._set = node.create_client(SetParametersAtomically, f"{NODE}/set_parameters_atomically")
        self._reset = node.create_client(Trigger, f"{NODE}/reset")

    @property
    def present(self) -> bool:
        """Whether a simulator offers them."""
        return self._reset.service_is_ready() and self._set.service_is_ready()

    def wait(self, timeout: float) -> None:
        """Waits until a simulator offers them.

        Raises:
            RobotTimeout: none did.
        """
        if not (self._reset.wait_for_service(timeout) and self._set.wait_for_service(timeout)):
            raise RobotTimeout(
                f"no simulator answered within {timeout:g} s; in lock step the other side must be "
                "`robot-rl twin --lock-step`"
            )

    def reset(self, start: Start, seed: int, spec: RobotSpec, check: Callable[[], None] = lambda: None) -> float:
        """Begins an episode.

        Args:
            start: where.
            seed: of the sensors' noise.
            spec: the robot; joints go by name.
            check: called several times a second while waiting; may raise.

        Returns:
            s, the simulator's time of the first reading.

        Raises:
            RobotFault: the simulator refused.
            RobotTimeout: it did not answer.
        """
        wanted = {
            "joint_position": dict(zip(spec.joint_names, map(float, start.joint_position), strict=True)),
            "base_yaw": float(start.base_yaw),
            "object_yaw": {name: float(yaw) for name, yaw in start.object_yaw.items()},
            "object_position": {name: [float(x), float(y)] for name, (x, y) in start.object_position.items()},
            "seed": seed,
        }
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=json.dumps(wanted))
        request = SetParametersAtomically.Request(parameters=[Parameter(name="start", value=value)])
        result = _answer(self._set, request, "set the start", check).result
        if not result.successful:
            raise RobotFault(f"the simulator refused the start: {result.reason}")
        answer = _answer(self._reset, Trigger.Request(), "reset", check)
        if not answer.success:
            raise RobotFault(f"the simulator did not reset: {answer.message}")
        return float(answer.message)

    def spoil(self, faults: Mapping[str, Any]) -> None:
        """Sets faults of the twin, all at once; see `hardware.faults.Faults`.

        Args:
            faults: by name; joints as a list of names, none as [""].

        Raises:
            RobotFault: the simulator refused.
            RobotTimeout: it did not answer.
        """
        values = [NodeParameter(f"fault.{name}", value=value).to_parameter_msg() for name, value in faults.items()]
        result = _answer(self._set, SetParametersAtomically.Request(parameters=values), "set its faults").result
        if not result.successful:
            raise RobotFault(f"the simulator refused the faults: {result.reason}")


def _answer(client: Any, request: Any, what: str, check: Callable[[], None] = lambda: None) -> Any:
    done = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: done.set())
    deadline = time.monotonic() + _TIMEOUT
    try:
        while not done.wait(_LOOK):
            if time.monotonic() > deadline:
                raise RobotTimeout(f"the simulator did not {what} within {_TIMEOUT:g} s")
            check()
    except BaseException:
        client.remove_pending_request(future)
        raise
    return future.result()
