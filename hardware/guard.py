"""The guard: a watchdog between a policy and a motor controller that has none.

    python -m hardware.guard --ros-args -p robot:=go2

Policies send to `guard/commands` (`robot-rl deploy --through-guard`). The guard keeps each command within the limits of
the robot's file and passes it on at once. When commands cease, or somebody stops it, it sends what stops the robot over
and over. Run it on the robot's own computer, so that no network lies between it and the motors.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.commanders import LOOK, other_commander
from hardware.emergency_stop import EmergencyStop
from hardware.motor_controller import Drive, MotorController
from hardware.robot_side import KEPT, TOPIC, motors_status
from hardware.session import RosSession, on_this_machine
from robot_rl.errors import ConfigurationError, InvalidInput, RobotRLError
from robot_rl.safety import SafetySupervisor
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import load_robot
from robot_rl.timing import Rate

Array = NDArray[np.floating]

NAME = "guard"
COMMANDS = f"{NAME}/commands"
"""Where policies send."""
_LAST, _BETWEEN = 5, 0.02
"""How often the command is sent that the guard leaves in force, and s between two: a single one can be lost."""


class Guard:
    """Passes commands on until it must not; `run` until `end`."""

    def __init__(self, spec: RobotSpec, namespace: str = "", estop_button: int = 1) -> None:
        """Joins the ROS network.

        Args:
            spec: the robot.
            namespace: before all relative topic names.
            estop_button: index of the joystick button that stops; -1 for none.
        """
        self.spec = spec
        self._motors = MotorController(spec, spec.safety.stop, spec.ros.command_timeout)
        self._supervisor = SafetySupervisor(spec)
        self._positions = spec.ros.command in ("position", "trajectory")
        self._sending = threading.Lock()
        self._sent: Array | None = None
        self._joints: tuple[Array, Array] | None = None
        self._joints_time = 0.0
        self._told: tuple[str, str] | None = None
        self._other = ""
        self._looked = False
        self._began = time.monotonic()
        self._ended = False
        self.session = RosSession(NAME, namespace)
        try:
            self._open(estop_button)
            self.session.start()
        except BaseException:
            self.session.close()
            raise

    def run(self) -> None:
        """Watches until `end` is called from another thread or a signal handler; at any end it stops the robot."""
        rate = Rate(min(self.spec.control_dt, 0.25 * self.spec.ros.command_timeout))
        try:
            while not self._ended:
                self.session.check()
                self._watch()
                rate.wait()
        finally:
            try:
                self._leave()
            finally:
                self.session.close()

    def end(self) -> None:
        """Makes `run` return."""
        self._ended = True

    def _open(self, estop_button: int) -> None:
        node, ros = self.session.node, self.spec.ros
        kind = JointTrajectory if ros.command == "trajectory" else Float64MultiArray
        reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = node.create_publisher(kind, ros.command_topic, reliable)
        self._status = node.create_publisher(DiagnosticStatus, f"{NAME}/{TOPIC}", KEPT)
        order = messages.JointOrder(self.spec.joint_names)
        read: Any = partial(messages.read_command, count=self.spec.joints)
        if ros.command == "trajectory":
            read = partial(messages.read_trajectory, order=order)
        node.create_subscription(kind, COMMANDS, partial(self._take_command, read), reliable)
        sensor = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(JointState, ros.joint_states, partial(self._take_joints, order), sensor)
        node.create_timer(1.0, self._look_for_second)
        emergency_stop = EmergencyStop(self._stop, self._clear, lambda: self._motors.latched)
        emergency_stop.listen(node, NAME, estop_button, reset_name="clear")

    def _take_joints(self, order: messages.JointOrder, message: JointState) -> None:
        try:
            position, velocity, _ = messages.read_joints(message, order)
        except InvalidInput as error:
            self._warn(f"joint states refused: the message {error}")
            return
        self._joints, self._joints_time = (position, velocity), time.monotonic()

    def _take_command(self, read: Any, message: Any) -> None:
        try:
            values, answered = read(message)
        except InvalidInput as error:
            self._warn(f"command refused: it {error}")
            return
        if not self._looked:
            self._warn("command refused: it comes while the guard still looks for others who command the robot")
            return
        if self._other:
            self._refuse_second()
        with self._sending:
            if self._motors.command(values, time.monotonic()):
                return
            self._send(self._limited(values), answered or 0.0)

    def _look_for_second(self) -> None:
        """Two that command one robot in turns would shake it; a guard that has passed nothing on is none of them."""
        topic = self.session.node.resolve_topic_name(self.spec.ros.command_topic)
        self._looked = time.monotonic() >= self._began + LOOK[on_this_machine()]
        self._other = other_commander(self.session.node, topic, publishes=True)
        if self._other and self._sent is not None:
            self._refuse_second()

    def _refuse_second(self) -> None:
        if not self._motors.latched:
            self._stop(f"somebody else commands the robot too: node {self._other!r}")

    def _limited(self, values: Array) -> Array:
        if not self._positions:
            limit = self.spec.velocity_limit if self.spec.ros.command == "velocity" else self.spec.effort_limit
            return np.clip(values, -limit, limit)
        if self._sent is None:
            self._sent = values if self._joints is None else self._joints[0]
        applied, failed = self._supervisor.limit(values, self._sent)
        if failed:
            self._warn(f"command limited: {', '.join(failed)}")
        return applied

    def _leave(self) -> None:
        """Stops a robot that was commanded: motors without a watchdog follow the last command for ever."""
        with self._sending:
            self._motors.stop("the guard has ended")
        for _ in range(_LAST if self._sent is not None else 0):
            self._watch(last=True)
            time.sleep(_BETWEEN)

    def _watch(self, last: bool = False) -> None:
        """Sends what stops the robot, while it must not follow; the last time, what may stay in force unattended."""
        now = time.monotonic()
        fresh = not last and self._joints is not None and now - self._joints_time <= self.spec.ros.state_timeout
        known = self._joints[0] if self._joints is not None else self._sent
        with self._sending:
            drive = self._motors.drive(np.array(self.spec.home) if known is None else known, now)
            if drive.reason and known is not None:
                self._send(self._stopping(drive, fresh), 0.0)
        self._tell(drive)

    def _stopping(self, drive: Drive, fresh: bool) -> Array:
        """The command that stops a robot of this kind, (n,); without fresh joint states no velocity and no effort."""
        if self._positions:
            return np.clip(drive.target, self.spec.lower, self.spec.upper)
        if self.spec.ros.command == "velocity" or not fresh or drive.mode == "limp":
            return np.zeros(self.spec.joints)
        assert self._joints is not None
        position, velocity = self._joints
        stiffness = self.spec.kp if drive.mode == "position" else 0.0
        effort = stiffness * (drive.target - position) - self.spec.kd * velocity
        return np.clip(effort, -self.spec.effort_limit, self.spec.effort_limit)

    def _send(self, values: Array, answered: float) -> None:
        self._sent = values
        if self.spec.ros.command == "trajectory":
            names, dt = self.spec.joint_names, self.spec.control_dt
            self._publisher.publish(messages.write_trajectory(names, values, answered, dt))
        else:
            self._publisher.publish(messages.write_command(values, answered))

    def _stop(self, reason: str) -> None:
        with self._sending:
            self._motors.stop(reason)
        self._watch()

    def _clear(self) -> str:
        was = self._motors.latched
        self._motors.clear(self.spec.home if self._joints is None else self._joints[0])
        self._watch()
        return was

    def _tell(self, drive: Drive) -> None:
        latched = self._motors.latched
        kind = latched or ("silence" if drive.reason else "")
        if (drive.mode, kind) != self._told:
            self._told = drive.mode, kind
            self._status.publish(motors_status(drive.mode, drive.reason, bool(latched)))
            say = self.session.node.get_logger()
            if drive.reason:
                say.error(f"stopped the robot: {drive.reason}")
            else:
                say.info("passing commands on")

    def _warn(self, line: str) -> None:
        self.session.node.get_logger().warning(line, throttle_duration_sec=1.0)


def main() -> int:
    """Runs the guard until SIGINT or SIGTERM; parameters `robot` and `estop_button`."""
    try:
        finder = RosSession(NAME)
        robot = finder.node.declare_parameter("robot", "", ParameterDescriptor(description="name or YAML file")).value
        button = finder.node.declare_parameter("estop_button", 1).value
        finder.close()
        if not robot:
            raise ConfigurationError("the guard needs the parameter 'robot'")
        guard = Guard(load_robot(robot), estop_button=int(button))
    except RobotRLError as error:
        print(f"guard: {error}", file=sys.stderr)
        return error.exit_code
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: guard.end())
    guard.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
