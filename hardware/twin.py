"""A simulator that is, from the outside, the robot: the same topics, rates, silences and faults."""

from __future__ import annotations

import heapq
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import WrenchStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.faults import Faults, FaultyWiring
from hardware.motor_controller import Drive, MotorController
from hardware.robot_side import KEPT, TOPIC, motors_status
from hardware.session import RosSession
from hardware.simulator_client import NODE
from robot_rl.errors import ConfigurationError, InvalidInput, RobotRLError
from robot_rl.robot import JointCommand, Robot, RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.timing import Rate


@runtime_checkable
class Drivable(Protocol):
    """A simulated robot whose motors can be switched."""

    def drive(self, mode: str, dead: tuple[str, ...] = ()) -> None:
        """Makes the motors follow commands of a kind, damp or go limp; `dead` joints have no torque in any mode."""


@dataclass(frozen=True)
class TwinSettings:
    """How the twin runs."""

    namespace: str = ""
    """Before all relative topic names."""
    lock_step: bool = False
    """Whether it waits for a command after each reading, on a clock of its own."""
    speed: float = 1.0
    """Of its clock against the wall's, where it does not wait."""
    seed: int = 0
    """Of the sensors' noise and of random faults."""
    odometry: bool = True
    """Whether it tells where its base is and how fast, as few robots can."""


def twin_spec(spec: RobotSpec, lock_step: bool, rate: float | None = None) -> RobotSpec:
    """The spec that the simulated robot steps by: one step is then one reading.

    Args:
        spec: the robot.
        lock_step: one reading per control tick.
        rate: Hz of the readings otherwise; by default `ros.rate` of the robot's file, or the
            greatest divisor of the physics rate up to 200 Hz.

    Raises:
        ConfigurationError: the physics rate is not a multiple of `rate`.
    """
    if lock_step:
        return spec
    physics = 1.0 / spec.simulation.physics_dt
    if rate is None and spec.ros.rate is not None and spec.ros.rate <= physics:
        rate = spec.ros.rate
    if rate is None:
        rate = next(physics / k for k in range(1, 10_000) if physics / k <= 200.0)
    steps = physics / rate
    if abs(steps - round(steps)) > 1e-9 or steps < 1:
        raise ConfigurationError(f"twin: a rate of {rate:g} Hz does not divide the physics rate of {physics:g} Hz")
    return replace(spec, control_rate=rate)


class Twin:
    """One simulated robot behind topics; `run` until `end`."""

    def __init__(self, robot: Robot, spec: RobotSpec, settings: TwinSettings) -> None:
        """Joins the ROS network.

        Args:
            robot: simulated, made for `twin_spec(spec, ...)`.
            spec: as its user knows it.
            settings: see `TwinSettings`.
        """
        self.robot, self.spec, self.settings = robot, spec, settings
        self.faults = Faults()
        self._rng = np.random.default_rng(settings.seed)
        self._wiring = FaultyWiring(spec)
        self._motors = MotorController(spec, spec.safety.stop, spec.ros.command_timeout)
        self._changed = threading.Condition()
        self._ended = False
        self._wanted_reset: dict[str, Any] | None = None
        self._reset_answer = ""
        self._answered: float | None = None
        self._start = "{}"
        self._outbox: list[tuple[float, int, Any]] = []
        self._orders: list[tuple[float, int, np.ndarray]] = []
        self._published = -1
        self._unanswered: tuple[float, list[tuple[Any, Any]]] | None = None
        self._sent = 0
        self._tick = 0
        self._time = 0.0
        self._moments = 0
        self._dt = robot.spec.control_dt
        self._repeated: list[tuple[Any, Any]] = []
        self._drive: tuple[str, tuple[str, ...]] = ("position", ())
        self._told: tuple[str, str] | None = None
        self._telling = threading.Lock()
        self._state = robot.reset(Start(spec.home), self._rng)
        self.session = RosSession(NODE, settings.namespace)
        try:
            self._open()
            self.session.start()
        except BaseException:
            self.session.close()
            raise

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Simulates until `end` is called from another thread or a signal handler."""
        rate = Rate(self._dt / self.settings.speed)
        try:
            while not self._ended:
                self.session.check()
                self._reset_if_wanted()
                self._publish(self._state)
                if self.settings.lock_step:
                    if not self._wait_for_command():
                        continue
                else:
                    rate.wait()
                self._step()
        finally:
            self.close()

    def end(self) -> None:
        """Makes `run` return."""
        self._ended = True

    def close(self) -> None:
        """Leaves the network and the simulator."""
        self.session.close()
        self.robot.close()

    def _now(self) -> float:
        """s, of the clock that stamps and commands go by."""
        return self._time if self.settings.lock_step else time.monotonic()

    def _step(self) -> None:
        with self._changed:
            while self._orders and self._orders[0][0] <= self._now() + 1e-9:
                self._motors.command(heapq.heappop(self._orders)[2], self._now())
        drive = self._motors.drive(self._state.joint_position, self._now())
        self._switch(drive.mode)
        self._tell(drive)
        self._state = self.robot.step(JointCommand(drive.target))
        self._tick += 1
        self._advance()

    def _advance(self) -> None:
        """One period of the clock; counted, since a sum of so many periods would drift."""
        self._moments += 1
        self._time = self._moments * self._dt

    def _switch(self, mode: str) -> None:
        wanted = (mode, self.faults.motor_failure)
        if wanted != self._drive and isinstance(self.robot, Drivable):
            self.robot.drive(*wanted)
            self._drive = wanted

    def _tell(self, drive: Drive) -> None:
        """Publishes what the motors follow, whenever that changes."""
        with self._telling:
            latched = self._motors.latched
            kind = latched or ("silence" if drive.reason else "")
            if (drive.mode, kind) != self._told:
                self._told = drive.mode, kind
                self._status.publish(motors_status(drive.mode, drive.reason, bool(latched)))

    def _tell_now(self) -> None:
        """The same between two steps, which may be long apart where each waits for a command."""
        self._tell(self._motors.drive(self._state.joint_position, self._now()))

    def _wait_for_command(self) -> bool:
        """Whether a command for the newest reading came; False where something else is to be done first."""
        if self._unanswered is None:
            return not self._ended  # nothing to answer: readings are late, or sent more rarely than the motors step
        with self._changed:
            came = self._changed.wait_for(
                lambda: self._ended or self._wanted_reset is not None or self._is_answered(), timeout=0.2
            )
            # After a timeout the reading is sent again: it may have been lost.
            good = bool(came) and not self._ended and self._wanted_reset is None
            if good:
                self._unanswered = None
            return good

    def _is_answered(self) -> bool:
        sent = self._unanswered[0] if self._unanswered is not None else self._time
        return self._answered is not None and self._answered > sent - 0.5 * self._dt

    # -- resets -------------------------------------------------------------------------------------------------------

    def _reset_if_wanted(self) -> None:
        with self._changed:
            wanted, self._wanted_reset = self._wanted_reset, None
        if wanted is None:
            return
        try:
            joints = wanted.get("joint_position", {})
            position = np.array(
                [float(joints.get(n, h)) for n, h in zip(self.spec.joint_names, self.spec.home, strict=True)]
            )
            start = Start(
                position,
                float(wanted.get("base_yaw", 0.0)),
                wanted.get("object_yaw", {}),
                {name: (float(x), float(y)) for name, (x, y) in wanted.get("object_position", {}).items()},
            )
            self._rng = np.random.default_rng(int(wanted.get("seed", self.settings.seed)))
            self._motors.clear(position)
            self._switch("position")
            self._state = self.robot.reset(start, self._rng)
            self._advance()
            answer = f"{self._stamp():.9f}"
        except (RobotRLError, ValueError, TypeError) as error:
            answer = f"error: {error}"
        with self._changed:
            self._answered = None
            self._unanswered = None
            self._published = -1
            self._outbox.clear()
            self._orders.clear()
            self._reset_answer = answer
            self._changed.notify_all()

    def _take_reset(self, _request: Any, response: Any) -> Any:
        """Hands the wish to the loop and waits for it; runs in the thread of the callbacks."""
        if self._motors.latched:
            response.success, response.message = False, f"stopped: {self._motors.latched}; call {NODE}/clear first"
            return response
        with self._changed:
            self._reset_answer = ""
            self._wanted_reset = json.loads(self._start)
            self._changed.notify_all()
            done = self._changed.wait_for(lambda: self._reset_answer or self._ended, timeout=5.0)
            answer = self._reset_answer
        response.success = bool(done) and not answer.startswith("error") and not self._ended
        response.message = answer
        return response

    # -- topics -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        node, spec, ros = self.session.node, self.spec, self.spec.ros
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)

        def publisher(kind: type, topic: str) -> Any:
            return node.create_publisher(kind, topic, reliable)

        provides = self.robot.provides
        self._joints = publisher(JointState, ros.joint_states)
        self._imu = publisher(Imu, ros.imu) if "orientation" in provides else None
        tells_base = "base_position" in provides and self.settings.odometry
        self._odometry = publisher(Odometry, ros.odometry) if tells_base else None
        self._contacts = {
            foot: publisher(WrenchStamped, ros.contacts.format(foot=foot))
            for foot in spec.feet
            if "contacts" in provides
        }
        self._objects = {name: publisher(Odometry, ros.objects.format(object=name)) for name in spec.objects}
        self._clock = publisher(Clock, "/clock") if self.settings.lock_step else None
        self._status = node.create_publisher(DiagnosticStatus, f"{NODE}/{TOPIC}", KEPT)
        order = messages.JointOrder(spec.joint_names)
        kind, read = {
            "trajectory": (JointTrajectory, partial(messages.read_trajectory, order=order)),
        }.get(ros.command, (Float64MultiArray, partial(messages.read_command, count=spec.joints)))
        commands = node.create_subscription(kind, ros.command_topic, partial(self._take_command, read), reliable)
        self.command_topic = commands.topic_name
        node.create_service(Trigger, f"{NODE}/reset", self._take_reset)
        node.create_service(Trigger, f"{NODE}/stop", self._take_stop)
        node.create_service(Trigger, f"{NODE}/clear", self._take_clear)
        node.create_service(SetBool, f"{NODE}/power", self._take_power)
        node.declare_parameter("start", "{}", ParameterDescriptor(description="JSON of where the next reset begins"))
        for field in fields(Faults):
            default = field.default
            if isinstance(default, tuple):
                node.declare_parameter(f"fault.{field.name}", Parameter.Type.STRING_ARRAY)
            else:
                node.declare_parameter(f"fault.{field.name}", default)
        node.add_on_set_parameters_callback(self._take_parameters)

    def _take_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            faults, start = self.faults, self._start
            for parameter in parameters:
                if parameter.name.startswith("fault."):
                    faults = faults.with_value(parameter.name.removeprefix("fault."), parameter.value, self.spec)
                elif parameter.name == "start":
                    if not isinstance(json.loads(parameter.value), dict):
                        raise ConfigurationError("start: expected a JSON object")
                    start = parameter.value
        except (RobotRLError, ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.faults, self._start = faults, start
        return SetParametersResult(successful=True)

    def _take_command(self, read: Callable[[Any], tuple[Any, float | None]], message: Any) -> None:
        faults = self.faults
        if faults.link_cut or (faults.drop and self._rng.random() < faults.drop):
            return
        try:
            position, answered = read(message)
        except InvalidInput as error:
            self.session.node.get_logger().warning(f"command refused: it {error}", throttle_duration_sec=1.0)
            return
        position = self._wiring.command(position, faults)
        with self._changed:
            if faults.command_delay:
                self._sent += 1
                heapq.heappush(self._orders, (self._now() + faults.command_delay, self._sent, position))
            else:
                self._motors.command(position, self._now())
            self._answered = answered if answered is not None else self._time
            self._changed.notify_all()

    def _take_stop(self, _request: Any, response: Any) -> Any:
        self._motors.stop("emergency stop")
        self._tell_now()
        response.success, response.message = True, f"stopped: {self.spec.safety.stop}"
        return response

    def _take_clear(self, _request: Any, response: Any) -> Any:
        self._motors.clear(self._state.joint_position)
        self._tell_now()
        response.success, response.message = True, "holding; waiting for commands"
        return response

    def _take_power(self, request: Any, response: Any) -> Any:
        if request.data:
            self._motors.clear(self._state.joint_position)
        else:
            self._motors.stop("power lost")
        self._tell_now()
        response.success, response.message = True, "on" if request.data else "off"
        return response

    # -- readings -----------------------------------------------------------------------------------------------------

    def _stamp(self) -> float:
        return self._time if self.settings.lock_step else self.session.node.get_clock().now().nanoseconds * 1e-9

    def _publish(self, state: RobotState) -> None:
        faults = self.faults
        if self._tick == self._published:
            if self._unanswered is not None:
                self._emit(*self._unanswered)  # it may have been lost
            return
        self._published = self._tick
        self._send_due()
        if self._tick % faults.slow:
            return
        moment = self._stamp()
        if faults.repeat and self._repeated:
            batch = self._repeated
        else:
            batch = self._repeated = self._messages(self._wiring.readings(state, faults), moment + faults.time_jump)
        delay = faults.state_delay + abs(self._rng.normal(0.0, faults.state_jitter) if faults.state_jitter else 0.0)
        if delay > 0:
            self._sent += 1
            heapq.heappush(self._outbox, (self._now() + delay, self._sent, partial(self._emit, moment, batch)))
        else:
            self._emit(moment, batch)

    def _send_due(self) -> None:
        while self._outbox and self._outbox[0][0] <= self._now() + 1e-9:
            heapq.heappop(self._outbox)[2]()

    def _emit(self, moment: float, batch: list[tuple[Any, Any]]) -> None:
        """Sends the messages of a moment, unless the link loses them; in lock step they then await their answer."""
        if self.settings.lock_step:
            self._unanswered = (moment, batch)
        if self.faults.link_cut or (self.faults.drop and self._rng.random() < self.faults.drop):
            return
        for publisher, message in batch:
            publisher.publish(message)

    def _messages(self, state: RobotState, stamp: float) -> list[tuple[Any, Any]]:
        """What is published of one state: publishers with their messages, joint states last."""
        found: list[tuple[Any, Any]] = []
        if self._imu is not None:
            imu = messages.write_imu(
                stamp, "imu", state.orientation_xyzw, state.angular_velocity, state.linear_acceleration
            )
            found.append((self._imu, imu))
        if self._odometry is not None:
            base = messages.write_base(
                stamp, state.base_position, state.orientation_xyzw, state.base_linear_velocity, state.angular_velocity
            )
            found.append((self._odometry, base))
        for index, (foot, publisher) in enumerate(self._contacts.items()):
            found.append((publisher, messages.write_contact(stamp, foot, state.contacts[index])))
        for name, publisher in self._objects.items():
            found.append((publisher, messages.write_object(stamp, name, state.objects[name])))
        effort = state.joint_effort if state.joint_effort is not None else np.zeros(0)
        joints = messages.write_joints(stamp, self.spec.joint_names, state.joint_position, state.joint_velocity, effort)
        _leave_out(joints, self.faults.missing)
        found.append((self._joints, joints))
        if self._clock is not None:
            found.append((self._clock, Clock(clock=messages.stamp_of(stamp))))
        return found


def _leave_out(message: JointState, joints: tuple[str, ...]) -> None:
    for joint in joints:
        index = message.name.index(joint)
        for values in (message.name, message.position, message.velocity, message.effort):
            if len(values) > index:
                values.pop(index)


def fault_names() -> Mapping[str, Any]:
    """Name and healthy value of every fault."""
    return {field.name: field.default for field in fields(Faults)}
