"""DC motors: the faster they turn, the less torque is left; the less voltage, the less of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]


class DCMotors:
    """The torque that each joint's motor can give at its speed.

    A motor of voltage V, resistance R and constant k gives at most  tau(w) = k (V - k w) / R = stall (1 - w / no_load)
    with stall = k V / R and no_load = V / k; both are proportional to the voltage. Against its motion it brakes by as
    much more. The driver's current limit, and with it `RobotSpec.effort_limit`, cuts what a slow motor could give.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Args: spec: the robot; without a motor section its motors have no such limit until `set_curve`."""
        self._spec = spec
        self.strength: Array = np.ones(spec.joints)
        self.voltage = 1.0
        """Ratio of the nominal voltage."""
        self.stall: Array = np.full(spec.joints, np.inf)
        """N m, at rest and nominal voltage."""
        self.no_load: Array = np.full(spec.joints, np.inf)
        """rad/s, free and at nominal voltage."""
        self.limit: Array = spec.effort_limit
        """N m, of current and gears."""
        self.reset()

    def reset(self) -> None:
        """Back to the robot's nominal motors."""
        spec, motor = self._spec, self._spec.simulation.motor
        self.strength, self.voltage, self.limit = np.ones(spec.joints), 1.0, spec.effort_limit
        if motor is not None:
            self.stall = np.full(spec.joints, motor.torque_constant * motor.voltage / motor.resistance)
            self.no_load = np.full(spec.joints, motor.voltage / motor.torque_constant)
            self.limit = np.minimum(spec.effort_limit, motor.torque_constant * motor.current_limit)

    def range(self, velocity: Array) -> tuple[Array, Array]:
        """Least and greatest torque at a velocity.

        Args:
            velocity: (n,), rad/s.

        Returns:
            (n,) and (n,), N m.
        """
        stall = self.stall * (self.voltage * self.strength)
        slope = stall / (self.no_load * self.voltage)
        limit = self.limit * self.strength
        back = slope * velocity
        return np.clip(-stall - back, -limit, limit), np.clip(stall - back, -limit, limit)
