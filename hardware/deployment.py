"""A policy node inside a program, driven from one of its threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.parameter import Parameter

from hardware.episode import EpisodeReport
from hardware.policy_node import NAME, SUCCESS, MakeTask, PolicyNode
from hardware.session import Call, RosSession
from robot_rl.errors import ConfigurationError, RobotFault


class Deployment:
    """A policy node in this process, driven from another thread.

    Attributes:
        node: the node.
    """

    def __init__(self, parameters: Mapping[str, Any], namespace: str = "", make_task: MakeTask | None = None) -> None:
        """Starts the node, unconfigured.

        Args:
            parameters: by name; see `PARAMETERS`.
            namespace: before all relative topic names.
            make_task: see `PolicyNode`.
        """
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        try:
            self._session = RosSession(
                NAME, namespace, PolicyNode, forgiving=True, make_task=make_task, parameter_overrides=overrides
            )
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigurationError(str(error)) from error
        self.node: PolicyNode = self._session.node  # type: ignore[assignment]
        self.node.session = self._session
        self._session.start()

    def transition(self, name: str) -> Call:
        """Begins `configure`, `activate`, `deactivate` or `cleanup`; its result raises what made it fail."""

        def attempt() -> None:
            answer = getattr(self.node, f"trigger_{name}")()
            if answer != SUCCESS:
                raise self.node.fault or RobotFault(f"{name} failed")

        return self._session.call(attempt)

    @property
    def report(self) -> EpisodeReport | None:
        """Of the run that ended last."""
        return self.node.loop.report if self.node.loop else None

    def check(self) -> None:
        """Raises here what ended the node's thread."""
        self._session.check()

    def close(self) -> None:
        """Leaves the robot at once, holding where it is unless it ramped out before, and ends the node."""
        self._session.leaving.set()
        if self.node._io is not None:
            self.node._io.leaving.set()
        self._session.call(self.node._release).wait(20.0)
        self._session.close()
