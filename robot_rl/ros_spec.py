"""The `ros` section of a robot's file: the topics on which it speaks and listens, and how soon silence is a fault.

And what a program may choose that the file does not say: `RosSettings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.section import Section

COMMAND_KINDS = ("position", "velocity", "effort", "trajectory")
RESETS = ("auto", "stand_up")
LONGEST_SILENCE = 60.0
"""s, greatest timeout of states and commands: one in milliseconds would leave a robot without the stop it is for."""


@dataclass(frozen=True)
class RosSettings:
    """How a program speaks to a robot over ROS; what the robot's file does not say."""

    namespace: str = ""
    """Before all relative topic names."""
    lock_step: bool = False
    """Whether the other side is a simulator that waits for each command; ticks then follow its clock."""
    reset: str = "auto"
    """How an episode begins: auto (a simulator is told to begin there, a robot stands up slowly) or stand_up always."""
    settle_time: float = 1.0
    """s of standing still after moving to the start of an episode."""
    move_speed: float = 0.8
    """rad/s (m/s) of the fastest joint while moving to the start of an episode."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, by name."""
        if self.reset not in RESETS:
            raise UnknownName.of("reset", self.reset, RESETS, "in ros")
        if not self.settle_time >= 0.0:
            raise ConfigurationError(f"ros: settle_time must be at least 0, got {self.settle_time}")
        if not self.move_speed > 0.0:
            raise ConfigurationError(f"ros: move_speed must be positive, got {self.move_speed}")


@dataclass(frozen=True)
class RosSpec:
    """Topics are relative to the robot's namespace unless they begin with a slash."""

    command: str
    """position, velocity or effort: std_msgs/Float64MultiArray, as ros2_control's forward command controllers take it,
    in the robot's joint order. trajectory: trajectory_msgs/JointTrajectory, one point, joints by name."""
    command_topic: str
    joint_states: str
    """sensor_msgs/JointState."""
    imu: str
    """sensor_msgs/Imu."""
    odometry: str
    """nav_msgs/Odometry, twist in the base frame."""
    contacts: str
    """geometry_msgs/WrenchStamped of one foot; `{foot}` stands for its name."""
    objects: str
    """nav_msgs/Odometry of one object, twist in its own frame; `{object}` stands for its name."""
    temperature: str
    """sensor_msgs/Temperature of one motor, its joint in the frame's name; nobody needs to send it."""
    rate: float | None
    """Hz at which the robot sends its readings; None where the file does not say, but at least the control rate."""
    reliability: str
    """Of the subscriptions: best_effort (meets publishers of both kinds) or reliable."""
    state_timeout: float
    """s without a fresh reading until the state counts as lost."""
    command_timeout: float
    """s without a command until the robot's side stops by itself."""
    connect_timeout: float
    """s to wait for all topics at the start, and for each answer of a simulator that waits for commands."""


def read_ros(section: Section, control_rate: float) -> RosSpec:
    """Checks the section; every key has a default, so that any robot can be put on ROS as it is.

    Args:
        section: may be empty.
        control_rate: Hz.
    """
    silence: dict[str, Any] = {"above": 0.0, "at_most": max(LONGEST_SILENCE, 3.0 / control_rate), "unit": "s"}
    spec = RosSpec(
        command=section.choice("command", COMMAND_KINDS, "position"),
        command_topic=section.text("command_topic", "commands"),
        joint_states=section.text("joint_states", "joint_states"),
        imu=section.text("imu", "imu"),
        odometry=section.text("odometry", "odom"),
        contacts=section.text("contacts", "contacts/{foot}"),
        objects=section.text("objects", "objects/{object}"),
        temperature=section.text("temperature", "temperature"),
        rate=section.optional_number("rate", above=0.0),
        reliability=section.choice("reliability", ("best_effort", "reliable"), "best_effort"),
        state_timeout=section.number("state_timeout", max(0.1, 2.0 / control_rate), **silence),
        command_timeout=section.number("command_timeout", max(0.1, 3.0 / control_rate), **silence),
        connect_timeout=section.number("connect_timeout", 8.0, above=0.0),
    )
    section.finish()
    return spec
