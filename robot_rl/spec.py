"""RobotSpec: all that the project knows of a robot.

A spec holds numbers only; `robot_rl/spec_file.py` reads it from the robot's YAML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_rl.camera_spec import CameraSpec
from robot_rl.kinematics import Legs
from robot_rl.ros_spec import RosSpec

Array = NDArray[np.floating]

SENSORS = (
    "joint_position",
    "joint_velocity",
    "joint_effort",
    "orientation",
    "angular_velocity",
    "linear_acceleration",
    "base_position",
    "base_linear_velocity",
    "contacts",
    "objects",
)
"""Everything a robot can sense; each is a field of RobotState."""

FLOATING_ONLY = ("orientation", "angular_velocity", "linear_acceleration", "base_position", "base_linear_velocity")


@dataclass(frozen=True)
class ActionSpec:
    """How a policy's action in [-1, 1]^d becomes a joint command: position = home + mixing (scale * action)."""

    coordinates: tuple[str, ...]
    """Name of each action component."""
    scale: Array
    """(d,), rad or m per unit of action."""
    mixing: Array
    """(n, d), joint displacement per unit of each coordinate."""

    @property
    def size(self) -> int:
        """d, the number of action components."""
        return len(self.coordinates)


@dataclass(frozen=True)
class MotorSpec:
    """A DC motor and its gear, the same at every joint, as seen at the joint."""

    voltage: float
    """V, of a full battery."""
    resistance: float
    """Ohm."""
    torque_constant: float
    """N m/A, which is V s/rad."""
    current_limit: float
    """A, of the driver."""


@dataclass(frozen=True)
class SimulationSpec:
    """What a simulator needs beside the robot itself."""

    model: str
    """Path of an MJCF or URDF file, or `menagerie:NAME`."""
    physics_dt: float
    """s."""
    cone: str
    """Friction cone: pyramidal or elliptic."""
    integrator: str
    """euler or implicitfast."""
    impratio: float
    """Ratio of frictional to normal constraint impedance."""
    actuator_delay: float
    """s, from a command to its effect."""
    base_height: float
    """m, of the base above the ground at home."""
    base_body: str
    """Body that carries the IMU; the root of a floating base."""
    imu_site: str
    """Site of the IMU; the base body's origin where the model has none of that name."""
    foot_geoms: tuple[str, ...]
    """Geometry of each foot, in the order of `feet`."""
    truth: tuple[str, ...]
    """Quantities only the simulator knows, for rewards, never for the policy."""
    motor: MotorSpec | None = None
    """Limits of torque by speed and voltage; None for motors that know their effort limit alone."""


@dataclass(frozen=True)
class SafetySpec:
    """Limits that the supervisor keeps, each with its response (off, warn, clamp, stop) and its bound."""

    joint_position: str
    command_step: str
    command_step_limit: Array
    """(n,), rad or m: largest change of a joint command from tick to tick."""
    joint_velocity: str
    tilt: str
    tilt_limit: float
    """rad between the base's up and the world's up."""
    height: str
    height_limit: float
    """m, lowest base height; used where the height is known."""
    joint_effort: str
    joint_effort_limit: float
    """Share of each joint's effort limit that a measured effort may reach."""
    workspace: str
    workspace_limit: Array
    """(2, 3), m, lowest and highest base position in the world; used where the position is known."""
    late_tick: str
    """Of control ticks on hardware."""
    late_tick_limit: float
    """s by which a control tick may be late."""
    temperature: str
    """Of motors, where a robot reports it."""
    temperature_limit: float
    """degrees Celsius."""
    rest: Array
    """(n,), rad or m: the pose in which a robot waits, before a policy takes over and after it."""
    rest_speed: float
    """rad/s or m/s of the fastest joint on the way to and from rest."""
    stop: str
    """What the joints do when the robot is stopped: hold their position, damp motion, or go limp."""


@dataclass(frozen=True)
class RobotSpec:
    """One robot. Joint arrays are (n,), read-only, in the order of `joint_names`."""

    name: str
    description: str
    base: str
    """floating or fixed."""
    control_rate: float
    """Hz."""
    joint_names: tuple[str, ...]
    lower: Array
    """rad or m."""
    upper: Array
    """rad or m."""
    velocity_limit: Array
    """rad/s or m/s."""
    effort_limit: Array
    """N m or N."""
    home: Array
    """rad or m."""
    kp: Array
    """N m/rad or N/m."""
    kd: Array
    """N m s/rad or N s/m."""
    feet: tuple[str, ...]
    legs: Legs | None
    """Kinematics of the feet; None where the file does not describe them."""
    objects: tuple[str, ...]
    """Names of the objects in the workspace; bodies of the same name in the simulated model."""
    sensors: Mapping[str, float]
    """Noise of each sensor the robot has: one standard deviation in the sensor's unit."""
    action: ActionSpec
    simulation: SimulationSpec
    safety: SafetySpec
    ros: RosSpec
    camera: CameraSpec | None
    """None for a robot without one."""
    source: str
    """The file this spec was read from, as given."""
    digest: str
    """SHA-256 of what the file says, but for the camera, so that a policy can tell whether it was made for this robot.
    A policy that sees pictures says itself of which camera."""

    @property
    def joints(self) -> int:
        """n, the number of actuated joints."""
        return len(self.joint_names)

    @property
    def control_dt(self) -> float:
        """s between control ticks."""
        return 1.0 / self.control_rate

    @property
    def substeps(self) -> int:
        """Physics steps per control tick."""
        return round(self.control_dt / self.simulation.physics_dt)
