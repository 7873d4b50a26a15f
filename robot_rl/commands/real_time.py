"""Training on a robot over ROS in real time: connect, ask, train, leave it safe."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable
from typing import Any

from robot_rl.commands.output import say
from robot_rl.commands.training_config import TrainingConfig
from robot_rl.errors import ConfigurationError, HelpNeeded
from robot_rl.make import make_pause_services
from robot_rl.settings import from_mapping
from robot_rl.task import Task
from robot_rl.training.control_loop import interruptible, train_in_real_time
from robot_rl.training.files import replace_file, to_json
from robot_rl.training.real_time import RealTimeSettings
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, TrainingResult

TIMING = "timing.json"
TIMING_LOG = "timing.csv"
"""Every tick, as randomisation takes it."""
"""How punctual the control loop was, in the run's folder."""
_DISCOVERY = 2.0
"""s until a simulator, where there is one, has made itself known."""


def train_robot(
    run: Run, config: TrainingConfig, settings: TrainerSettings, task: Task, yes: bool = False
) -> TrainingResult:
    """Trains (or continues) on whatever answers on the robot's topics.

    Args:
        run: where everything is kept.
        config: of the run.
        settings: of its trainer.
        task: what to learn.
        yes: whether a robot may move without a person being asked.

    Raises:
        ConfigurationError: nobody said that the robot may move.
        RobotFault: it does not answer, left or stopped.
    """
    with interruptible():
        env = config.make_env(task)
        robot: Any = env.robot
        try:
            if not yes and not _is_simulated(robot):
                _ask_to_begin(task.spec.name)
            pause = make_pause_services(robot)
            return train_in_real_time(
                env,
                config.make_learner,
                settings,
                from_mapping(RealTimeSettings, config.real_time, "real_time"),
                run,
                stop=robot.stop,
                paused=lambda: pause.paused,
                ask=ask_person,
                say=say,
            )
        finally:
            env.close()
            _report(run, robot.timing)


def ask_person(request: str, check: Callable[[], None]) -> None:
    """Asks for help at the terminal and waits for Enter.

    Args:
        request: what is wrong and what to do.
        check: called several times a second meanwhile; may raise.

    Raises:
        HelpNeeded: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise HelpNeeded(f"{request}; there is no terminal to ask at, so training ends here")
    say(f"{request}, then press Enter (Ctrl-C ends training)")
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        check()
    sys.stdin.readline()


def _is_simulated(robot: Any) -> bool:
    deadline = time.monotonic() + _DISCOVERY
    while not robot.simulated and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(robot.simulated)


def _ask_to_begin(name: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(f"robot {name!r} would move: without a terminal to ask at, --yes must allow it")
    ask_person(f"robot {name!r} is going to move by itself; make room and put it on its feet", lambda: None)


def _report(run: Run, timing: Any) -> None:
    if not timing.ticks:
        return
    summary = {"ticks": timing.ticks, "overruns": timing.overruns, "seconds": timing.summary()}
    replace_file(run.path / TIMING, to_json(summary))
    replace_file(run.path / TIMING_LOG, timing.trace().to_csv().encode())
    period = summary["seconds"]["period"]
    say(
        f"{timing.ticks:,} ticks, {timing.overruns} of them late by a period or more; "
        f"period p50 {1e3 * period['p50']:.2f}, p99 {1e3 * period['p99']:.2f}, max {1e3 * period['max']:.2f} ms"
    )
