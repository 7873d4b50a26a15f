"""What the tests of the policy node share: it walks Go2's twin, which waits for commands in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hardware.deployment import Deployment
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.make import make_deployment

POLICY = str(shipped_policies()["go2-walk"])
DEPLOY = ("-m", "robot_rl.cli", "deploy", POLICY, "--robot", "go2", "--lock-step", "--settle-time", "0.1")


@contextmanager
def deployment(**parameters: Any) -> Iterator[Deployment]:
    """A policy node in this process, against the twin in its own."""
    given = {"policy": POLICY, "robot": "go2", "lock_step": True, "settle_time": 0.1, **parameters}
    made = make_deployment(given)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def walking(network: Any, until: Callable[..., None], **parameters: Any) -> Iterator[Deployment]:
    """A node that runs its policy on a twin that stood at home."""
    stand(network.operator)
    with deployment(**parameters) as node:
        go(node, "configure", "activate")
        until(lambda: node.node.loop.ticks > 5, "the policy does not run")
        yield node


def stand(operator: Any) -> None:
    operator.trigger("twin/clear")
    assert operator.trigger("twin/reset").success


def go(node: Deployment, *transitions: str) -> None:
    for name in transitions:
        node.transition(name).result()


def damped(operator: Any) -> bool:
    status = operator.motors.get("twin")
    return status is not None and status.hardware_id == "damp" and bool(status.message)


def told(operator: Any) -> list[str]:
    return [status.message for array in operator.diagnostics for status in array.status]
