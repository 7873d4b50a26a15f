"""Motors that are not ideal: DC motors, and motors as a network has learnt them from measurements."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_rl.actuator_network import ActuatorNetwork
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class DCMotors:
    """The torque that each joint's motor can give at its speed.

    A motor of voltage V, resistance R and constant k gives at most  tau(w) = k (V - k w) / R = stall (1 - w / no_load)
    with stall = k V / R and no_load = V / k; both are proportional to the voltage. Against its motion it brakes by as
    much more. The driver's current limit, and with it `RobotSpec.effort_limit`, cuts what a slow motor could give.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot; without a motor section `stall` and `no_load` are still to be set."""
        self._spec = spec
        self.strength: Array = np.ones(spec.joints)
        self.voltage = 1.0
        """Ratio of the nominal voltage."""
        self.stall: Array = spec.effort_limit
        """N m, at rest and nominal voltage."""
        self.no_load: Array = spec.velocity_limit
        """rad/s, free and at nominal voltage."""
        self.limit: Array = spec.effort_limit
        """N m, of current and gears."""
        self.reset()
        self.settle()

    def reset(self) -> None:
        """Back to the robot's nominal motors."""
        spec, motor = self._spec, self._spec.simulation.motor
        self.strength, self.voltage, self.limit = np.ones(spec.joints), 1.0, spec.effort_limit
        if motor is not None:
            self.stall = np.full(spec.joints, motor.torque_constant * motor.voltage / motor.resistance)
            self.no_load = np.full(spec.joints, motor.voltage / motor.torque_constant)
            self.limit = np.minimum(spec.effort_limit, motor.torque_constant * motor.current_limit)

    def settle(self) -> None:
        """Takes in what was changed; comes before `limits`."""
        self._now = self.stall * (self.voltage * self.strength)
        self._slope = self._now / (self.no_load * self.voltage)
        self._high = self.limit * self.strength
        self._low = -self._high

    def limits(self, velocity: Array, least: Array, greatest: Array) -> None:
        """Writes least and greatest torque at a velocity.

        Args:
            velocity: (n,), rad/s.
            least: (n,), N m, written.
            greatest: (n,), N m, written.
        """
        back = self._slope * velocity
        np.subtract(self._now, back, out=greatest)
        np.minimum(np.maximum(greatest, self._low, out=greatest), self._high, out=greatest)
        np.add(self._now, back, out=back)
        np.negative(np.minimum(np.maximum(back, self._low, out=back), self._high, out=back), out=least)


class NetworkMotors:
    """Runs an actuator network at the physics' rate."""

    def __init__(self, network: ActuatorNetwork, stride: int) -> None:
        """Args: network: of the robot; stride: physics steps between the samples that it looks at."""
        self._network, self._stride = network, stride
        self._samples: deque[tuple[Array, Array]] = deque(maxlen=stride * (network.history - 1) + 1)

    def torque(self, error: Array, velocity: Array) -> Array:
        """What the motors give now, (n,), N m; of (n,) command minus position, rad, and velocity, rad/s."""
        samples = self._samples
        samples.append((error, velocity))
        while len(samples) < samples.maxlen:  # type: ignore[operator]  # before the beginning all was as at it
            samples.appendleft(samples[0])
        seen = list(samples)[:: self._stride]
        return self._network.torque(np.array([e for e, _ in seen]), np.array([v for _, v in seen]))

    def snapshot(self) -> dict[str, Any]:
        """The samples it looks at."""
        return {"samples": np.array(self._samples)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back."""
        self._samples.extend((e, v) for e, v in np.array(snapshot["samples"]))
