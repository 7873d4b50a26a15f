"""How fast the base moves and how high it is, from joints, IMU and foot contacts alone.

A foot that stands does not move. So, seen from the base, its place g changes only because the base moves, turns, and
rolls over the ball of the foot:

    dv/dt = a + down * 9.81 - bias - omega x v                (base frame; a as measured, +9.81 upwards at rest)
    dg/dt = -v - omega x g + Omega x up * radius              (Omega: angular velocity of the foot's link)

Joint positions measure g, joint velocities measure v:

    g = p(q)
    v = -(J qd + omega x c),  c = p + down * radius           (c, J: of the point on the ground; one opinion a foot)

A Kalman filter brings these together. Turning it into the base frame leaves its noise alike in all directions, so all
three axes share one small covariance, of v, the accelerometer's bias and the feet: that of a scalar filter. Places are
far less noisy than velocities, and a foot that stands for a while tells its velocity by how far it came. A foot that
does not stand is forgotten, and begins anew where the joints say it is. Opinions far from what is expected, as at
touch-down, count less.

x and y are the integral of v and drift; height is that above the standing feet. Without an accelerometer v is a random
walk that the feet correct. After the state estimator for legged robots of Bloesch et al. 2013, in the simpler form that
a given orientation allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_rl import rotation
from robot_rl.errors import ConfigurationError
from robot_rl.kinematics import Feet
from robot_rl.robot import RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

GRAVITY = 9.81
"""m/s^2."""
NEEDS = ("contacts", "orientation", "angular_velocity")
"""Sensors without which it cannot work."""
_VELOCITY, _BIAS, _FEET = 0, 1, 2
"""Rows of the filter's state; one for each foot from the last on."""
_UNKNOWN = 1e4
"""Variance of what is not known at all."""


@dataclass(frozen=True)
class LegOdometrySettings:
    """Noise and thresholds; the noise of the sensors themselves comes from the robot's file."""

    acceleration_noise: float = 0.7
    """m/s^2, of the accelerometer between two readings: impacts of the feet pass between them."""
    acceleration_noise_without_sensor: float = 1.0
    """m/s^2, of the base itself, where nothing measures it."""
    bias_noise: float = 0.03
    """m/s^2 per square root of s, by which the accelerometer's bias wanders."""
    slip: float = 0.02
    """m/s per square root of Hz, of a foot that stands for sure."""
    stand_share: float = 0.12
    """Share of the weight from which a foot stands."""
    lift_share: float = 0.05
    """Share of the weight below which it no longer does."""
    full_share: float = 0.5
    """Share of the weight from which it stands for sure."""
    settle_time: float = 0.05
    """s after touch-down until a foot counts in full."""
    weight_time: float = 2.0
    """s over which the robot's weight is averaged from the forces of its feet."""
    outlier_speed: float = 0.5
    """m/s between an opinion and what was expected, from which it counts less than half."""
    climb_time: float = 0.06
    """s, of an oscillator that would follow the height as the vertical velocity does."""
    height_time: float = 0.1
    """s over which the vertical velocity is trusted against the height of the feet."""


class BaseMotion(NamedTuple):
    """The estimate."""

    position: Array
    """(3,), m, world: x and y by integration since the reset, z above the standing feet."""
    linear_velocity: Array
    """(3,), m/s, base frame."""


def can_estimate(spec: RobotSpec) -> bool:
    """Whether a robot has what leg odometry needs."""
    return spec.legs is not None and all(name in spec.sensors for name in NEEDS)


class LegOdometry:
    """Estimates the motion of one robot's base, state by state."""

    def __init__(self, spec: RobotSpec, settings: LegOdometrySettings | None = None) -> None:
        """Begins as `reset` does.

        Raises:
            ConfigurationError: the robot's file has no legs, or the robot lacks a sensor.
        """
        if spec.legs is None or not can_estimate(spec):
            missing = [name for name in NEEDS if name not in spec.sensors]
            lacking = ", ".join(missing) or "the section 'legs' of its file"
            raise ConfigurationError(f"leg odometry of robot {spec.name!r}: it lacks {lacking}")
        self.spec, self._legs = spec, spec.legs
        self.settings = settings or LegOdometrySettings()
        # Noise of places and opinions: that of the joints times the lever of the legs at home.
        lever = math.sqrt(float((self._legs.kinematics(spec.home).jacobian ** 2).sum(-1).mean()))
        noise = spec.sensors
        self._place_noise = math.hypot(lever * noise["joint_position"], 1e-3)
        self._opinion_noise = math.hypot(lever * noise["joint_velocity"], lever * noise["angular_velocity"], 0.02)
        self._measured = np.array([_VELOCITY, *range(_FEET, _FEET + len(spec.feet))])
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next state counts as x = y = 0."""
        rows = _FEET + len(self.spec.feet)
        self._stamp: float | None = None
        self._force: Array | None = None
        self._mean = np.zeros((rows, 3))
        self._covariance = np.diag([1.0, 0.01, *[_UNKNOWN] * (rows - _FEET)])
        self._position = np.zeros(3)
        self._world_velocity: Array | None = None
        self._grounded = False
        self._weight = 0.0
        self._stood = np.full(rows - _FEET, -1.0)

    def update(self, state: RobotState) -> BaseMotion:
        """Takes in one state.

        Args:
            state: newer than the last; with joints, orientation, angular velocity and contacts.

        Returns:
            The estimate at the state's moment.
        """
        # To the nanosecond, as stamps are: the same walk gives the same estimate at any hour.
        dt = 0.0 if self._stamp is None else round(float(state.stamp) - self._stamp, 9)
        self._stamp = float(state.stamp)
        feet = self._legs.kinematics(state.joint_position)
        if dt > 0.0:
            self._predict(state, feet, dt)
        opinions = self._opinions(state, feet)  # (feet, 3)
        weights = self._sureness(state.contacts, dt) * self._credibility(opinions, dt == 0.0)  # (feet,)
        self._loosen(weights, dt)
        self._correct(feet, opinions, weights)
        self._advance(state, weights, dt)
        return BaseMotion(self._position.copy(), self._mean[_VELOCITY].copy())

    def _sureness(self, forces: Array, dt: float) -> Array:
        """How surely each foot stands, (feet,) in [0, 1]; with hysteresis, so that it does not flutter."""
        settings = self.settings
        total = float(forces.sum())
        share = 1.0 - math.exp(-dt / settings.weight_time) if self._weight > 0.0 else 1.0
        self._weight += share * (total - self._weight)
        if self._weight <= 0.0:
            self._stood[:] = -1.0
            return np.zeros(len(forces))
        part = forces / self._weight
        stands = (part >= settings.stand_share) | ((self._stood >= 0.0) & (part >= settings.lift_share))
        # -1 in the air, 0 at touch-down, then s on the ground: a foot that lands still slides and bounces.
        self._stood = np.where(stands, np.where(self._stood >= 0.0, self._stood + dt, 0.0), -1.0)
        loaded = (part - settings.lift_share) / (settings.full_share - settings.lift_share)
        settled = 1.0 if dt == 0.0 else self._stood / settings.settle_time
        return np.where(stands, np.clip(np.minimum(loaded, settled), 0.0, 1.0), 0.0)

    def _opinions(self, state: RobotState, feet: Feet) -> Array:
        """What each foot would have the base's velocity be, if it stood; (feet, 3)."""
        ball = self._legs.radius[:, None]
        touching = feet.position + ball * state.gravity
        motion = feet.jacobian + ball[..., None] * _cross_columns(feet.turning, state.gravity)
        # v = -(J qd + omega x c)
        return -(motion @ state.joint_velocity + rotation.cross(state.angular_velocity, touching))

    def _credibility(self, opinions: Array, first: bool) -> Array:
        """1 for opinions as expected, less the further they are off; (feet,)."""
        # The first state knows nothing to expect but what most feet say.
        expected = np.median(opinions, axis=0) if first else self._mean[_VELOCITY]
        far = ((opinions - expected) ** 2).sum(-1) / self.settings.outlier_speed**2
        return 1.0 / (1.0 + far * far)

    def _predict(self, state: RobotState, feet: Feet, dt: float) -> None:
        """Carries the filter on to this state."""
        settings, mean, omega, down = self.settings, self._mean, state.angular_velocity, state.gravity
        change = np.zeros(3)
        noise = settings.acceleration_noise_without_sensor
        transition = np.eye(len(mean))
        if state.linear_acceleration is not None:
            # Mean of both ends: the specific force of the interval, not of its end.
            force = state.linear_acceleration
            mid = force if self._force is None else 0.5 * (force + self._force)
            self._force = force
            change = mid + GRAVITY * down - mean[_BIAS]
            noise = settings.acceleration_noise
            transition[_VELOCITY, _BIAS] = -dt
            transition[_FEET:, _BIAS] = 0.5 * dt * dt
        transition[_FEET:, _VELOCITY] = -dt
        rolling = rotation.cross(omega + feet.turning @ state.joint_velocity, -down) * self._legs.radius[:, None]
        moved = mean.copy()
        moved[_VELOCITY] += dt * change
        moved[_FEET:] += dt * (rolling - mean[_VELOCITY] - 0.5 * dt * change)
        moved -= dt * rotation.cross(omega, moved)
        moved[_BIAS] = mean[_BIAS]
        self._mean = moved
        self._covariance = transition @ self._covariance @ transition.T
        self._covariance[_VELOCITY, _VELOCITY] += (noise * dt) ** 2
        self._covariance[_BIAS, _BIAS] += settings.bias_noise**2 * dt

    def _loosen(self, weights: Array, dt: float) -> None:
        """Lets each foot have moved as far as its weight leaves possible."""
        diagonal = self._covariance.reshape(-1)[:: len(self._mean) + 1]
        diagonal[_FEET:] += self.settings.slip**2 * dt / np.maximum(weights, 1e-3) ** 2
        for row in _FEET + np.flatnonzero(weights == 0.0):
            self._covariance[row, :] = self._covariance[:, row] = 0.0
            self._covariance[row, row] = _UNKNOWN

    def _correct(self, feet: Feet, opinions: Array, weights: Array) -> None:
        """Brings in what the joints say."""
        total = float(weights.sum())
        opinion = weights @ opinions / total if total > 0.0 else self._mean[_VELOCITY]
        noise = np.full(len(weights) + 1, self._place_noise**2)
        noise[0] = self._opinion_noise**2 / total if total > 0.0 else _UNKNOWN
        rows = self._measured
        innovation = np.concatenate([opinion[None], feet.position]) - self._mean[rows]
        # K = P H' (H P H' + R)^-1, where H picks the measured rows
        crossed = self._covariance[rows]
        gain = np.linalg.solve(crossed[:, rows] + np.diag(noise), crossed).T
        self._mean = self._mean + gain @ innovation
        self._covariance = self._covariance - gain @ crossed

    def _advance(self, state: RobotState, weights: Array, dt: float) -> None:
        """Moves the base's position on to this state."""
        velocity, total = rotation.rotate(state.orientation_xyzw, self._mean[_VELOCITY]), float(weights.sum())
        if self._world_velocity is not None:
            self._position = self._position + 0.5 * dt * (velocity + self._world_velocity)
        heights = self._mean[_FEET:] @ state.gravity + self._legs.radius
        if not self._grounded:
            # Until a foot has touched the ground for the first time, the lowest counts as standing.
            self._position[2] = float(heights.max())
        if total > 0.0:
            height = float(weights @ heights) / total
            above = height - self._position[2]
            if self._grounded:
                self._position[2] += (1.0 - math.exp(-dt / self.settings.height_time)) * above
                # Impacts lift the base between two readings of the accelerometer; the height tells.
                pull = dt * above / self.settings.climb_time**2
                self._mean[_VELOCITY] -= pull * state.gravity
                velocity = velocity + np.array([0.0, 0.0, pull])
            else:
                self._position[2], self._grounded = height, True
        self._world_velocity = velocity


def _cross_columns(matrix: Array, vector: Array) -> Array:
    """Cross products of the columns of (..., 3, n) with a vector (3,)."""
    return np.swapaxes(rotation.cross(np.swapaxes(matrix, -1, -2), vector), -1, -2)
