"""Bags, and what training and identification read out of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robot_rl.joint_log import JointLog
from robot_rl.make.packages import missing_for_bags
from robot_rl.motion_log import MotionLog
from robot_rl.spec import RobotSpec
from robot_rl.task import Task

if TYPE_CHECKING:
    from hardware.bag import Bag
    from hardware.bag_replay import BagTransitions, ReplayReport
    from hardware.bag_timing import BagTiming


def open_bag(path: str | Path) -> Bag:
    """A bag to read; raises ConfigurationError where there is none."""
    try:
        from hardware.bag import Bag
    except ModuleNotFoundError as error:
        raise missing_for_bags(error) from error
    return Bag(path)


def bag_transitions(
    bags: Sequence[Bag], task: Task, goal: Sequence[float] | None = None
) -> tuple[BagTransitions, ReplayReport]:
    """What a task makes of recorded episodes, with their own goals or a given one; see `hardware.bag_replay`."""
    import numpy as np

    try:
        from hardware.bag_replay import transitions
    except ModuleNotFoundError as error:
        raise missing_for_bags(error) from error
    return transitions(bags, task, None if goal is None else np.array(goal, dtype=np.float64))


def bag_joint_logs(bag: Bag, spec: RobotSpec) -> list[JointLog]:
    """What the joints were told and did in a bag's episodes; see `hardware.bag_joints`."""
    try:
        from hardware.bag_joints import joint_logs
    except ModuleNotFoundError as error:
        raise missing_for_bags(error) from error
    return joint_logs(bag, spec)


def bag_motion_logs(bag: Bag, spec: RobotSpec, base: str | None = None) -> list[MotionLog]:
    """What a robot was told and did in a bag, with the moment of everything; see `hardware.bag_motion`."""
    try:
        from hardware.bag_motion import motion_logs
    except ModuleNotFoundError as error:
        raise missing_for_bags(error) from error
    return motion_logs(bag, spec, base)


def bag_timing(bag: Bag) -> BagTiming:
    """The timing of the control loop that a bag was recorded with; see `hardware.bag_timing`."""
    from hardware.bag_timing import bag_timing

    return bag_timing(bag)
