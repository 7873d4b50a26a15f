"""What docs/launch.md gives to those who have no `ros2`: as a person would run it, with ROS's own settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardware.session import PROFILES, RANGE

PAGE = Path(__file__).parents[2] / "docs" / "launch.md"
CALL, SET = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(program: str, *arguments: str) -> str:
    """What a program prints, without our settings of the network."""
    ours = {RANGE, *PROFILES}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    return done.stdout + done.stderr


def test_services_are_called_and_faults_are_set_without_ros2(
    lock_step_network: Any, until: Callable[..., None]
) -> None:
    motors = lock_step_network.operator.motors
    said = run(CALL, "/twin/stop")
    assert "success=True" in said, said
    until(lambda: motors["twin"].message == "emergency stop", "the motors are not told to stop")
    assert "success=True" in run(CALL, "/twin/clear")
    said = run(SET)
    assert said.count("successful=True") == 2, said
    assert lock_step_network.operator.set("twin", fault__swap=[""], fault__way="both").successful


def test_a_policy_is_stopped_without_ros2(lock_step_network: Any) -> None:
    lock_step_network.operator.trigger("twin/reset")
    program = lock_step_network.start(
        "-m", "robot_rl.cli", "deploy", "go2-walk", "--robot", "go2", "--lock-step", "--yes"
    )
    program.wait_for("policy [1-9]")
    assert "success=True" in run(CALL, "/policy/stop")
    assert program.wait() == 3
    assert "stopped: emergency stop: service" in program.output
    assert "success=True" in run(CALL, "/twin/clear")
