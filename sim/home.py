"""How a robot holds its home pose without any policy: what to know first of a new robot's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import JointCommand, Robot, Start
from robot_rl.safety import SafetySupervisor, explain
from robot_rl.spec import RobotSpec
from sim.mujoco_robot import MujocoRobot
from sim.parts import Parts

Array = NDArray[np.floating]

SECONDS = 5.0
"""For which home is held: long enough for a robot that falls slowly."""


@dataclass(frozen=True)
class AtHome:
    """What was seen while a robot was told to stay at home."""

    seconds: float
    """s until it was stopped, or all of them."""
    stopped: str
    """What the supervisor found, and what is allowed; empty where the robot held out."""
    mass: float
    """kg, without objects of the workspace and without what does not move."""
    heights: tuple[float, float] | None
    """m, of a floating base in the beginning and in the end."""
    tilt: float | None
    """rad, of a floating base in the end."""
    sag: Array
    """(n,), rad or m by which each joint is away from home in the end."""
    effort: Array
    """(n,), share of its limit that each joint gives in the end."""


def hold_home(spec: RobotSpec, watch: Callable[[Robot], None] | None = None) -> AtHome:
    """Puts a robot at home in MuJoCo and commands home, under its supervisor.

    Args:
        spec: the robot.
        watch: called with the robot after every tick.

    Raises:
        ConfigurationError: the model is wrong.
        RobotFault: the simulation diverged.
    """
    robot, supervisor, command = MujocoRobot(spec, noise=False), SafetySupervisor(spec), JointCommand(spec.home)
    parts = Parts(robot.model, spec)
    base = parts.base if spec.base == "floating" else None
    robot.reset(Start(spec.home), np.random.default_rng(0))
    first = None if base is None else float(robot.data.xpos[base][2])
    stopped, held = "", 0.0
    for tick in range(1, round(SECONDS * spec.control_rate) + 1):
        robot.step(command)
        held = tick * spec.control_dt
        if watch is not None:
            watch(robot)
        state = robot.truth()
        verdict = supervisor.watch(state, {})
        if verdict.stop:
            checks = [name for name in verdict.counts if getattr(spec.safety, name) == "stop"]
            stopped = "; ".join(explain(name, spec, state, spec.home, spec.home) for name in checks)
            break
    heights = tilt = None
    if base is not None and first is not None:
        heights = first, float(robot.data.xpos[base][2])
        # The last entry of the base's rotation matrix is the cosine between its z axis and the vertical.
        tilt = float(np.arccos(np.clip(robot.data.xmat[base][8], -1.0, 1.0)))
    return AtHome(
        seconds=held,
        stopped=stopped,
        mass=float(robot.model.body_mass[parts.bodies].sum()),
        heights=heights,
        tilt=tilt,
        sag=np.abs(robot.truth().joint_position - spec.home),
        effort=np.abs(robot.data.actuator_force) / spec.effort_limit,
    )
