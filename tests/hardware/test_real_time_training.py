"""Training over ROS 2 in real time against the twin, in real processes, on good and bad days."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from hardware.session import RosSession
from robot_rl.training.run import Run
from tests.hardware.training_runs import TINY, saved_values, wait_until

# Seconds on an idle machine. Each process loads torch, and on a busy one that alone can take minutes.
pytestmark = pytest.mark.timeout(900)

PATIENT = {"state_timeout": 5.0, "command_timeout": 5.0}
"""For machines that are busy with other things; what is tested here is not punctuality."""


def flags(values: dict[str, Any], section: str) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{section}.{name}", str(value))]


SMALL = [*flags(TINY, "trainer"), "--sac.hidden_sizes", "8", "8"]


class Listener:
    """Hears what is commanded and what the joints do, and calls services."""

    def __init__(self) -> None:
        self.session = RosSession("listener")
        self.commands: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        node = self.session.node
        node.create_subscription(Float64MultiArray, "commands", self._hear_command, 500)
        node.create_subscription(JointState, "joint_states", self._hear_joints, 500)
        self.session.start()

    def _hear_command(self, message: Float64MultiArray) -> None:
        self.commands.append(np.array(message.data))

    def _hear_joints(self, message: JointState) -> None:
        self.positions.append(np.array(message.position))

    def call(self, service: str) -> bool:
        client = self.session.node.create_client(Trigger, service)
        assert client.wait_for_service(20.0)
        done = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: done.set())
        assert done.wait(20.0)
        return future.result().success

    def assert_held(self) -> None:
        """The last command was to stay where the joints were, unlike those before it, and none came after it."""
        time.sleep(0.5)
        count = len(self.commands)
        readings = np.array(self.positions)
        # Under way a command is far from the joints: they carry the body, and the policy is a random one.
        held = [np.abs(readings - command).max(axis=1).min() < 0.04 for command in self.commands]
        assert held[-1]
        assert sum(held) < count // 2
        time.sleep(0.3)
        assert len(self.commands) == count


@pytest.fixture
def listener(domain: int) -> Iterator[Listener]:
    found = Listener()
    yield found
    found.session.close()


@pytest.fixture
def trainer(start: Callable[..., Any], robot_file: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    """Starts `robot-rl train` in real time and waits until it has made some steps."""

    def begin(*arguments: str, until: str = r"^step \d+/") -> Any:
        process = start("-m", "robot_rl.cli", "train", *arguments)
        process.wait_for(until, timeout=280)
        return process

    return begin


@pytest.fixture
def patient_go2(robot_file: Callable[..., str]) -> str:
    return robot_file("go2", ros={**PATIENT, "connect_timeout": 12.0})


def new_run(robot: str, folder: Path, steps: int = 5000) -> Sequence[str]:
    # Not standing back, the learner comes up sooner on a busy machine.
    own = ["--steps", str(steps), "--out", str(folder), "--real_time.learner_niceness", "0"]
    return ["walk", "--robot", robot, "--on", "ros", *own, *SMALL]


def learner_of(process: Any) -> int:
    """Process id of the learner: the child that is not Python's own tracker of resources."""
    children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children").read_text().split()
    return next(int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


def steps_saved(folder: Path) -> tuple[int, int]:
    """Steps of the newest checkpoint, and transitions in its replay."""
    values = saved_values(Run.open(folder))
    return values["trainer/step"], values["replay/total"]


def test_a_killed_learner_leaves_the_robot_held_and_says_so(
    twin: Callable[..., Any], trainer: Callable[..., Any], listener: Listener, patient_go2: str, tmp_path: Path
) -> None:
    twin(patient_go2, "--rate", "50")
    process = trainer(*new_run(patient_go2, tmp_path / "run"))
    os.kill(learner_of(process), signal.SIGKILL)
    assert process.process.wait(150) == 3
    assert "robot-rl: the learner's process has died, killed by SIGKILL; the robot is stopped" in process.output
    assert (tmp_path / "run" / "rescued.npz").is_file()
    listener.assert_held()


def test_pause_resume_and_ctrl_c_leave_the_robot_held_and_the_run_resumable(
    twin: Callable[..., Any], trainer: Callable[..., Any], listener: Listener, patient_go2: str, tmp_path: Path
) -> None:
    twin(patient_go2, "--rate", "50")
    process = trainer(*new_run(patient_go2, tmp_path / "run"))
    assert listener.call("train/pause")
    time.sleep(0.5)
    listener.assert_held()
    assert listener.call("train/resume")
    count = len(listener.commands)
    wait_until(lambda: len(listener.commands) > count + 5)
    assert process.end(signal.SIGINT, timeout=150) == 130
    listener.assert_held()
    assert "continue with: robot-rl train --resume" in process.output
    steps, transitions = steps_saved(tmp_path / "run")
    assert steps == transitions >= 50
    assert "Traceback" not in process.output


def test_a_killed_control_loop_costs_no_transition_and_the_run_resumes(
    twin: Callable[..., Any], trainer: Callable[..., Any], robot_file: Callable[..., str], tmp_path: Path
) -> None:
    go2 = robot_file("go2", ros={**PATIENT, "connect_timeout": 6.0})  # for so long a silent robot is waited for too
    robot = twin(go2, "--rate", "50")
    folder = tmp_path / "run"
    process = trainer(*new_run(go2, folder))
    learner = learner_of(process)
    process.end(signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{learner}").exists() or _is_zombie(learner))
    assert "the control loop has died; all is saved" in process.output
    steps, transitions = steps_saved(folder)
    assert steps == transitions >= 50
    again = trainer("--resume", str(folder), until=rf"resumed at step {steps}")
    again.wait_for(r"^step \d+/", timeout=150)
    robot.end(signal.SIGKILL)
    assert again.process.wait(150) == 3
    silent = r"robot-rl: robot 'go2': /\S+ is \S+ s old, allowed 5 s \(ros.state_timeout\).* it is not back"
    assert re.search(silent, again.output.splitlines()[-1])
    more, transitions = steps_saved(folder)
    assert more == transitions > steps


def _is_zombie(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
