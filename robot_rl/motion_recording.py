"""Runs commands on any robot through the supervisor, and logs what it was told and did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import RobotFault
from robot_rl.motion_log import MotionLog
from robot_rl.robot import JointCommand, Punctual, Robot, RobotState, Start
from robot_rl.safety import SafetySupervisor, explain
from robot_rl.timing import TimingLog

Array = NDArray[np.floating]

def record_motion(
    robot: Robot, commands: Array, base: str, rng: np.random.Generator, lock_step: bool = False
) -> MotionLog:
    """Brings a robot to the first command, then sends them all, one a control tick.

    In simulation the moments are those of the control ticks. Over ROS a command is sent when the reading before it
    is taken: at the stamp of that reading and, as far as it is known, its age.

    Args:
        robot: simulated or real.
        commands: (K, n), rad.
        base: how the robot is; see `robot_rl.motion_log.BASES`.
        rng: of the noise of a simulated robot.
        lock_step: whether the other side is a simulator that waits for each command, so that no reading has an age.

    Returns:
        The log.

    Raises:
        RobotFault: the supervisor stopped the robot; says why.
    """
    spec, supervisor = robot.spec, SafetySupervisor(robot.spec)
    state = robot.reset(Start(commands[0]), rng)
    in_force = np.array(commands[0])
    readings: list[RobotState] = [state]
    told: list[Array] = []
    for wanted in commands:
        applied, failed = supervisor.limit(wanted, in_force)
        state = robot.step(JointCommand(applied))
        readings.append(state)
        told.append(applied)
        verdict = supervisor.watch(state, failed)
        if verdict.stop:
            robot.stop()
            stops = [check for check in verdict.counts if getattr(spec.safety, check, "warn") == "stop"]
            reasons = "; ".join(explain(check, spec, state, wanted, in_force) for check in stops)
            raise RobotFault(f"robot {spec.name!r} was stopped after {len(told) * spec.control_dt:.1f} s: {reasons}")
        in_force = applied
    stamps = np.array([float(reading.stamp) for reading in readings])
    sent, age = _moments(robot, stamps, lock_step)
    fresh = np.concatenate([[True], np.diff(stamps) > 1e-9])  # a reading that was lost leaves the one before
    kept = [reading for reading, new in zip(readings, fresh, strict=True) if new]
    has_effort = kept[0].joint_effort is not None
    return MotionLog(
        robot=spec.name,
        joints=spec.joint_names,
        base=base,
        time=stamps[fresh],
        position=np.array([reading.joint_position for reading in kept]),
        velocity=np.array([reading.joint_velocity for reading in kept]),
        effort=np.array([reading.joint_effort for reading in kept]) if has_effort else None,
        sent=sent,
        command=np.array(told),
        age=age,
        source="recording",
    )


def _moments(robot: Robot, stamps: Array, lock_step: bool) -> tuple[Array, tuple[float, float] | None]:
    """When each command was sent, (K,), s, and mean and deviation of the readings' ages, of (K + 1,) stamps."""
    if not isinstance(robot, Punctual):
        ticks = robot.spec.control_dt * np.arange(len(stamps))
        ages = (ticks - stamps)[1:]
        return ticks[:-1], (float(max(0.0, ages.mean())), float(ages.std()))
    if lock_step:
        return stamps[:-1], (0.0, 0.0)
    timing = getattr(robot, "timing", None)
    ages = timing.column("state_age")[-len(stamps) + 1 :] if isinstance(timing, TimingLog) else np.zeros(0)
    if len(ages) == len(stamps) - 1 and np.isfinite(ages).all() and 0.0 <= np.median(ages) < 1.0:
        return stamps[:-1] + np.concatenate([ages[:1], ages[:-1]]), (float(ages.mean()), float(ages.std()))
    return stamps[:-1], None
