"""Motions that show what a robot is made of, within its limits: commands for every control tick.

Held, each joint follows a sum of sines of its own frequencies about its home. Standing, the body moves over the feet:
squats, shifts and tilts, whose joint angles the robot's own kinematics give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, NoPart
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

REST = 1.5
"""s at rest at the beginning and at the end."""
RAMP = 1.0
"""s in which a motion swells, and fades."""
_SINES = 7
"""Of each joint, or each direction of the body."""
_SLOWEST, _FASTEST = 0.15, 4.0
"""Hz, of joints in the air."""
_PHASES = 20
"""Choices of phases."""
_PER_CYCLE = 10
"""Control ticks that a cycle has at least."""
_SQUAT = (0.15, 1.2)
"""Hz, slowest and fastest motion of a body on its feet."""
_SHARE = 0.5
"""Of a joint's greatest speed that a motion uses at most."""
_MARGIN = 0.05
"""Of a joint's range that a motion keeps from its ends."""
_BODY = np.array([0.02, 0.015, 0.035, 0.06, 0.06])
"""Greatest shift of the body forward, left and up, m, and its roll and pitch, rad."""
_DROP = 0.02
"""m by which the body is lower than at home on average."""


def held_motion(spec: RobotSpec, seconds: float, amplitude: float = 0.3, seed: int = 0) -> Array:
    """Commands for a robot that is held with its feet in the air, or whose base is fixed.

    Args:
        spec: the robot.
        seconds: how long, rest included.
        amplitude: rad, greatest distance from the middle of the motion; less where a limit is near.
        seed: of phases.

    Returns:
        (K, n), rad, one row a control tick.

    Raises:
        ConfigurationError: too short a time.
    """
    fastest = min(_FASTEST, spec.control_rate / _PER_CYCLE)
    waves, slopes = _multisine(spec, seconds, spec.joints, (_SLOWEST, fastest), seed)
    middle, reach = _room(spec, amplitude)
    speed = _SHARE * np.minimum(spec.velocity_limit, spec.safety.command_step_limit * spec.control_rate)
    peak = np.abs(slopes).max(0)
    return spec.home + _swell(spec, seconds)[:, None] * (middle - spec.home + np.minimum(reach, speed / peak) * waves)


def standing_motion(spec: RobotSpec, seconds: float, amplitude: float = 1.0, seed: int = 0) -> Array:
    """Commands for a robot on its feet, which stay where they are.

    Args:
        spec: the robot.
        seconds: how long, rest included.
        amplitude: ratio of the usual motion of the body.
        seed: of phases.

    Returns:
        (K, n), rad, one row a control tick.

    Raises:
        NoPart: the robot's base is fixed, or its file has no legs.
        ConfigurationError: too short a time, or a motion beyond the joints' limits.
    """
    if spec.base == "fixed" or spec.legs is None:
        what = "a fixed base" if spec.base == "fixed" else "no section 'legs' in its file"
        raise NoPart(f"robot {spec.name!r} has {what}, so it cannot move its body over its feet; use --base held")
    waves, _ = _multisine(spec, seconds, len(_BODY), _SQUAT, seed)
    body = amplitude * _BODY * waves
    body[:, 2] -= amplitude * _DROP
    body *= _swell(spec, seconds)[:, None]
    found = _joints_for(spec, body)
    beyond = np.maximum(spec.lower - found, found - spec.upper)
    if beyond.max() > 0.0:
        worst = spec.joint_names[int(beyond.max(0).argmax())]
        raise ConfigurationError(
            f"robot {spec.name!r}: the motion takes {worst} {beyond.max():.2f} rad beyond its limits; "
            f"give a smaller --amplitude than {amplitude:g}"
        )
    return found


def _joints_for(spec: RobotSpec, body: Array) -> Array:
    """Joint positions (K, n) with the feet where they are at home, for shifts and tilts of the body (K, 5)."""
    legs = spec.legs
    assert legs is not None
    feet = legs.kinematics(spec.home).position  # (feet, 3), base frame
    joints, found = np.array(spec.home), np.empty((len(body), spec.joints))
    for tick, (x, y, z, roll, pitch) in enumerate(body):
        # A foot that stays in the world is seen from the moved body at R^T (p - d).
        turn = _about(1, pitch) @ _about(0, roll)
        wanted = (feet - (x, y, z)) @ turn
        for _ in range(3):
            now = legs.kinematics(joints)
            off = (wanted - now.position).ravel()
            jacobian = now.jacobian.reshape(-1, spec.joints)
            # Damped least squares: legs without a joint for a direction leave it.
            normal = jacobian.T @ jacobian + 1e-6 * np.eye(spec.joints)
            joints = joints + np.linalg.solve(normal, jacobian.T @ off)
        found[tick] = joints
    return found


def _about(axis: int, angle: float) -> Array:
    """Rotation about x (0) or y (1), (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) if axis == 0 else np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _multisine(
    spec: RobotSpec, seconds: float, count: int, band: tuple[float, float], seed: int
) -> tuple[Array, Array]:
    """Signals in [-1, 1] and their slopes, 1/s, (K, count); each of frequencies that no other has.

    sum_k sin(2 pi f_k t + phase_k) / sqrt(f_k): dry friction shows in what is slow, damping and inertia in what is
    fast. Of some choices of phases the one with the lowest peaks is taken, which moves most within a limit.
    """
    if seconds < 2.0 * (REST + RAMP) + 2.0:
        raise ConfigurationError(f"a motion takes at least {2.0 * (REST + RAMP) + 2.0:g} s, got {seconds:g} s")
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * spec.control_rate)) / spec.control_rate
    grid = np.geomspace(*band, _SINES * count).reshape(_SINES, count)  # Hz
    order = np.array([rng.permutation(count) for _ in range(_SINES)])
    frequency = np.take_along_axis(grid, order, axis=1)
    best = np.full(count, np.inf)
    waves, slopes = np.zeros((2, len(time), count))
    for _ in range(_PHASES):
        angle = 2.0 * np.pi * frequency * time[:, None, None] + rng.uniform(-np.pi, np.pi, frequency.shape)
        wave = (np.sin(angle) / np.sqrt(frequency)).sum(1)  # (K, count)
        peak = np.abs(wave).max(0)
        lower = peak < best
        slope = (2.0 * np.pi * np.sqrt(frequency) * np.cos(angle)).sum(1)
        best[lower] = peak[lower]
        waves[:, lower], slopes[:, lower] = (wave / peak)[:, lower], (slope / peak)[:, lower]
    return waves, slopes


def _swell(spec: RobotSpec, seconds: float) -> Array:
    """(K,), 0 at rest, 1 in between, with smooth ramps."""
    time = np.arange(round(seconds * spec.control_rate)) / spec.control_rate
    left = np.clip((np.minimum(time, time[-1] - time) - REST) / RAMP, 0.0, 1.0)
    return left * left * (3.0 - 2.0 * left)


def _room(spec: RobotSpec, amplitude: float) -> tuple[Array, Array]:
    """Middle of each joint's motion and how far it goes to either side, (n,), rad."""
    gap = _MARGIN * (spec.upper - spec.lower)
    low, high = spec.lower + gap, spec.upper - gap
    reach = np.minimum(amplitude, 0.5 * (high - low))
    return np.clip(spec.home, low + reach, high - reach), reach
