"""Where a policy takes a robot over: from how it is now, not from how it was before a reset or a person's help."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray

from robot_rl.commands.policy_files import shipped_policies
from robot_rl.make import make_deployment
from robot_rl.spec_file import load_robot

POLICY = str(shipped_policies()["go2-walk"])
HOME = load_robot("go2").home
CROUCHED = HOME + np.tile([0.0, 0.4, -0.6], 4)


def begin_at(operator: Any, position: np.ndarray) -> None:
    names = load_robot("go2").joint_names
    start = json.dumps({"joint_position": dict(zip(names, position.tolist(), strict=True))})
    assert operator.set("twin", start=start).successful
    assert operator.trigger("twin/reset").success


@pytest.mark.parametrize("lock_step", [False, True])
def test_what_was_read_before_a_reset_is_not_where_the_policy_begins(
    lock_step: bool,
    tmp_path: Path,
    robot_file: Callable[..., str],
    network: Callable[..., Any],
    until: Callable[..., None],
) -> None:
    # Such long timeouts do not tell an old reading from a new one.
    path = robot_file("go2", ros={"state_timeout": 20.0, "command_timeout": 20.0, "connect_timeout": 60.0})
    with network(tmp_path, path, *(["--lock-step"] if lock_step else ["--rate", "50"])) as net:
        node = make_deployment({"policy": POLICY, "robot": path, "lock_step": lock_step})
        heard, again = threading.Event(), threading.Event()
        try:
            commands: list[np.ndarray] = []
            net.operator.node.create_subscription(
                Float64MultiArray, "commands", lambda message: commands.append(np.array(message.data)), 10
            )
            node.transition("configure").result()
            robot = node.node.loop.robot

            def crouches() -> bool:
                state, _ = robot.receiver.read(HOME, 0.0)
                return bool(np.abs(state.joint_position - CROUCHED).max() < 0.3)

            begin_at(net.operator, CROUCHED)
            until(crouches, "it does not crouch")
            # The thread that hears the robot does not get to run; meanwhile the robot is put back on its feet.
            robot._session.call(lambda: (heard.set(), again.wait(60.0)))
            assert heard.wait(60.0)
            begin_at(net.operator, HOME)
            activation = node.transition("activate")
            time.sleep(0.5)
            again.set()
            activation.result()
            until(lambda: commands, "nothing is commanded")
            # Under its weight the robot sags a little, where it stands and where it crouches.
            assert np.abs(commands[0] - HOME).max() < np.abs(commands[0] - CROUCHED).max()
        finally:
            again.set()
            node.close()
