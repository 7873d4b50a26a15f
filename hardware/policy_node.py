"""The policy node: a ROS 2 lifecycle node that runs a policy file on whatever robot answers.

    python -m hardware.policy_node --ros-args -p policy:=go2-walk.onnx -p robot:=go2 -p autostart:=true

configure loads the file and checks it against the robot's spec and the live topics; activate ramps in from where the
joints are; deactivate ramps out. Transitions and parameters are served in one thread, the robot's topics and everything
that stops it in another, the control loop in a third: so no transition can delay an emergency stop, and neither a tick.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Temperature
from std_msgs.msg import Float64MultiArray, Header

from hardware import guard
from hardware.diagnostics import diagnostics
from hardware.emergency_stop import EmergencyStop
from hardware.goals import Goals
from hardware.knobs import KNOBS, Knobs
from hardware.policy_loop import LoopSettings, PolicyLoop
from hardware.real_time import RealTime
from hardware.recorder_process import RecorderProcess
from hardware.robot_side import RobotSide
from hardware.ros_robot import RosRobot, RosSettings
from hardware.session import RosSession
from hardware.supervision import Supervision
from policies.composed_runtime import WEIGHT_RATE, AnyPolicy, load_policy, new_runner
from policies.contract import Contract
from policies.seeing_runtime import SeeingPolicy
from robot_rl.errors import ConfigurationError, PolicyError, RobotFault, RobotRLError
from robot_rl.spec import RobotSpec, load_robot
from robot_rl.task import Task

NAME = "policy"
MakeTask = Callable[[Any, RobotSpec], Task | None]
"""From a policy's contract and a robot to the task that measures it."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

PARAMETERS: Mapping[str, tuple[Any, str]] = {
    "policy": ("", "policy file; set while active, another one takes over between two ticks"),
    "robot": ("", "built-in robot or YAML file"),
    "autostart": (False, "configure and activate at the start"),
    "lock_step": (False, "the other side is a simulator that waits for each command"),
    "through_guard": (False, "send commands through the guard node"),
    "settle_time": (LoopSettings.settle_time, "s of standing at rest before the policy takes over"),
    "blend_time": (LoopSettings.blend_time, "s in which the policy's commands grow from rest to full size"),
    "weight_rate": (WEIGHT_RATE, "1/s, by which a weight of a composed policy changes at most"),
    "cmd_vel_timeout": (0.5, "s for which a velocity command counts"),
    "estop_button": (1, "index of the joystick button that stops; -1 for none"),
    "priority": (0, "of the control thread under SCHED_FIFO; 0 for none"),
    "lock_memory": (False, "keep the process in memory"),
    "pause_collector": (False, "let Python's garbage collector rest while active"),
    "record": ("", "new folder for a bag of the robot's topics and of what the policy sees and does"),
}
"""Default and meaning of each; goals come beside them as `goal.NAME` once a policy is loaded, and for a composed policy
`weights` and `temperature`."""


class PolicyNode(LifecycleNode):
    """See the module.

    Attributes:
        session: serves this node; set by whoever made it.
        loop: the control loop, while configured.
        fault: why the last transition failed, as the error that caused it.
    """

    def __init__(self, name: str, make_task: MakeTask | None = None, **options: Any) -> None:
        """Declares the parameters.

        Args:
            name: of the node.
            make_task: where a policy's success shall be measured.
            options: of the node.
        """
        super().__init__(name, **options)
        self.session: RosSession = None  # type: ignore[assignment]
        self.loop: PolicyLoop | None = None
        self.fault: RobotRLError | None = None
        self.simulated = False
        self._make_task = make_task
        self._io: RosSession | None = None
        self._robot: RosRobot | None = None
        self._spec: RobotSpec | None = None
        self._goals: Goals | None = None
        self._knobs: Knobs | None = None
        self._side: RobotSide | None = None
        self._publish: Callable[[], None] = lambda: None
        for parameter, (default, meaning) in PARAMETERS.items():
            limits = [IntegerRange(from_value=0, to_value=99)] if parameter == "priority" else []
            self.declare_parameter(parameter, default, ParameterDescriptor(description=meaning, integer_range=limits))
        self.add_on_set_parameters_callback(self._take_parameters)

    @property
    def label(self) -> str:
        """Of the lifecycle: unconfigured, inactive, active ..."""
        return self._state_machine.current_state[1]  # rclpy has no other way to ask

    @property
    def supervision(self) -> Supervision | None:
        """What watches the robot, while configured."""
        return self.loop.supervision if self.loop else None

    # -- transitions --------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads the policy and finds the robot."""
        return self._attempt(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the control loop, which ramps in."""
        return self._attempt(self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ramps out; after a stop there is nothing to do."""
        return self._attempt(self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves the robot and forgets the policy."""
        return self._attempt(self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ramps out if need be, and leaves."""
        return self._attempt(self._leave)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Leaves the robot; the node may then be configured again."""
        return self._attempt(self._release)

    def _attempt(self, transition: Callable[[], None]) -> TransitionCallbackReturn:
        self.fault = None
        try:
            transition()
        except RobotRLError as error:
            self.fault = error
            self.get_logger().error(" ".join(str(error).split()))
            return FAILURE
        except Exception as error:
            self.get_logger().fatal(f"{type(error).__name__}: {error}")
            raise
        return SUCCESS

    def _configure(self) -> None:
        spec = self._robot_spec()
        policy = _load(self._value("policy"), spec)
        contract = policy.contract
        goals = Goals(contract.task.goal_labels, contract.task.goal_ranges, self._value("cmd_vel_timeout"))
        self._goals = goals
        lock_step = self._value("lock_step")
        # No services that nobody needs: the fewer there are to wait for, the sooner a message is taken.
        self._io = RosSession(
            f"{self.get_name()}_io", self.get_namespace(), beside=self.session, start_parameter_services=False
        )
        try:
            self._declare_goals(goals)
            runner = new_runner(policy, self._value("weight_rate"))
            self._declare_knobs(Knobs(runner))
            if self.session.leaving.is_set():
                raise RobotFault("no longer wanted")
            self._side = RobotSide(self._io.node)
            robot = RosRobot(spec, RosSettings(lock_step=lock_step), self._io)
            self._spec, self._robot = spec, robot
            supervision = Supervision(spec, self._report)
            settings = LoopSettings(
                settle_time=self._value("settle_time"),
                blend_time=self._value("blend_time"),
                real_time=RealTime(*(self._value(name) for name in ("priority", "lock_memory", "pause_collector"))),
            )
            task = self._make_task(contract, spec) if self._make_task else None
            self.loop = PolicyLoop(robot, runner, goals, supervision, self._side, settings, task)
            self.loop.recorder = self._recorder(contract, spec)
            self._open(robot.node, self.loop)
            self._side.wait_present(1.0)
            self.simulated = robot.simulated
        except BaseException:
            self._release()
            raise
        self.get_logger().info(f"configured: {contract.name} on {spec.name}, {spec.control_rate:g} Hz")

    def _activate(self) -> None:
        assert self.loop is not None
        assert self._side is not None
        assert self._robot is not None
        if self._side.latched and not self.loop.supervision.stopped:
            # A clear that was just asked for may still be on its way.
            self._side.wait(latched=False, timeout=1.0)
        stopped = self.loop.supervision.stopped or self._side.latched
        if stopped:
            raise RobotFault(f"robot {self._robot.spec.name!r} is stopped: {stopped}; call {self.get_name()}/reset")
        self._robot.refuse_second()
        self._robot.receiver.wait_fresh(self._robot.spec.ros.connect_timeout)
        self.loop.start()

    def _deactivate(self) -> None:
        loop = self.loop
        assert loop is not None
        loop.ramp_out()
        while not loop.wait(0.1):
            if self.session.leaving.is_set():
                loop.end()
        if loop.report is not None:
            self.get_logger().info(loop.report.line())

    def _recorder(self, contract: Contract, spec: RobotSpec) -> RecorderProcess | None:
        if not self._value("record"):
            return None
        return RecorderProcess(
            self._value("record"),
            spec,
            namespace=self.get_namespace(),
            task=contract.task.name,
            policy=contract.name,
            observation_labels=contract.observation.labels,
            goal_labels=contract.task.goal_labels,
        )

    def _release(self) -> None:
        if self.loop is not None:
            self.loop.end()
            self._close_recorder(self.loop.recorder)
        if self._robot is not None:
            self._robot.close()
        if self._io is not None:
            self._io.close()
        for name in (*(f"goal.{name}" for name in (self._goals.names if self._goals else ())), *KNOBS):
            if self.has_parameter(name):
                self.undeclare_parameter(name)
        self.loop = self._io = self._robot = self._goals = self._knobs = self._side = None
        self._publish = lambda: None

    def _close_recorder(self, recorder: RecorderProcess | None) -> None:
        if recorder is not None:
            recorder.close()
            if recorder.fault or recorder.lost:
                self.get_logger().error(f"recording: {recorder.lost} messages lost; {recorder.fault}".rstrip("; "))

    def _leave(self) -> None:
        if self.loop is not None and self.loop.running:
            self._deactivate()
        self._release()

    # -- stops --------------------------------------------------------------------------------------------------------

    def stop(self, reason: str, check: str = "emergency_stop") -> None:
        """Stops the robot until `reset`; from any thread."""
        if self.loop is not None:
            self.loop.stop(check, reason)

    def reset(self) -> str:
        """Ends a stop on both sides; the node has to be activated again. Returns what the reason was."""
        if self.loop is None or self._side is None:
            return ""
        was = self.loop.supervision.reset() or self._side.latched
        self._side.clear()
        if was:
            self.get_logger().info(f"stop reset; it was: {was}")
        self._publish()
        return was

    def _open(self, node: Any, loop: PolicyLoop) -> None:
        """Everything that must be served while a transition runs."""
        name, spec = self.get_name(), loop.robot.spec
        EmergencyStop(node, name, self._value("estop_button"), self.stop, self.reset)
        assert self._side is not None
        self._side.on_latched = lambda reason: self.stop(f"the robot's side stopped: {reason}", "robot_side")
        if loop.goals.walks:
            node.create_subscription(Twist, "cmd_vel", partial(self._take_velocity, loop), 1)
        if self._knobs is not None and self._knobs.composed:
            node.create_subscription(
                Float64MultiArray, f"{name}/weights", partial(_take_weights, self._knobs, loop), 1
            )
        quality = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Temperature, spec.ros.temperature, partial(_take_temperature, loop), quality)
        heartbeat = node.create_publisher(Header, f"{name}/heartbeat", 1)
        every, count = max(1, round(spec.control_rate / 50.0)), iter(range(2**62))

        def beat(phase: str) -> None:
            if next(count) % every == 0:
                heartbeat.publish(Header(stamp=node.get_clock().now().to_msg(), frame_id=phase))

        loop.on_tick = beat
        loop.on_end = partial(self._soon, self._settle)
        publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

        def publish() -> None:
            stamp = node.get_clock().now().to_msg()
            publisher.publish(DiagnosticArray(header=Header(stamp=stamp), status=[diagnostics(name, loop)]))

        self._publish = publish
        node.create_timer(1.0, publish)
        node.create_timer(1.0, partial(self._look_for_second, loop))

    def _look_for_second(self, loop: PolicyLoop) -> None:
        """Two that began at the same moment did not see each other then; here both do, and both stop."""
        other = loop.robot.other_commander() if loop.running else ""
        if other:
            self.stop(f"somebody else commands the robot too: node {other!r}", "second_commander")

    def _soon(self, function: Callable[[], None]) -> None:
        self.session.call(function)

    def _settle(self) -> None:
        """A loop that ended by itself makes the node inactive."""
        if self.loop is not None and not self.loop.running and self.label == "active":
            self.trigger_deactivate()

    def _report(self, level: str, line: str) -> None:
        if level == "stop":
            self.get_logger().error(line)
            self._publish()
        else:
            self.get_logger().warning(line)

    # -- parameters ---------------------------------------------------------------------------------------------------

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _robot_spec(self) -> RobotSpec:
        if not self._value("robot") or not self._value("policy"):
            raise ConfigurationError("the policy node needs the parameters 'policy' and 'robot'")
        spec = load_robot(self._value("robot"))
        if self._value("through_guard"):
            spec = replace(spec, ros=replace(spec.ros, command_topic=guard.COMMANDS))
        return spec

    def _declare_goals(self, goals: Goals) -> None:
        for name, label, middle in zip(goals.names, goals.labels, goals.now(0.0).values.tolist(), strict=True):
            # The range is a text: another policy may bring another range, and our own refusal says more.
            saw = "training saw {:g} to {:g}".format(*goals.ranges[label]) if label in goals.ranges else ""
            descriptor = ParameterDescriptor(description=f"goal: {label}", additional_constraints=saw)
            try:
                self.declare_parameter(f"goal.{name}", middle, descriptor)
            except InvalidParameterTypeException as error:
                raise ConfigurationError(str(error)) from error
            goals.set(name, self._value(f"goal.{name}"))

    def _declare_knobs(self, knobs: Knobs) -> None:
        self._knobs = knobs
        if not knobs.composed:
            return
        meanings = {
            "weights": f"of the skills {', '.join(knobs.skills)}: >= 0, sum 1",
            "temperature": "of the composed policy, reward units per nat; moves the action only with --refine",
        }
        for name in KNOBS:
            try:
                self.declare_parameter(name, knobs.now(name), ParameterDescriptor(description=meanings[name]))
            except InvalidParameterTypeException as error:
                raise ConfigurationError(str(error)) from error
            knobs.begin(name, self._value(name))

    def _take_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            for parameter in parameters:
                self._take_parameter(parameter)
        except RobotRLError as error:
            return SetParametersResult(successful=False, reason=" ".join(str(error).split()))
        for parameter in parameters:
            if parameter.name.startswith("goal.") and self._goals is not None:
                self._goals.set(parameter.name.removeprefix("goal."), parameter.value)
            if parameter.name in KNOBS and self._knobs is not None:
                self._knobs.set(parameter.name, parameter.value)
        return SetParametersResult(successful=True)

    def _take_parameter(self, parameter: Parameter) -> None:
        if self._goals is None or self.loop is None or self._spec is None:
            return  # before configure: everything is read there
        if parameter.name.startswith("goal."):
            self._goals.checked(parameter.name.removeprefix("goal."), parameter.value)
        elif parameter.name in KNOBS and self._knobs is not None:
            self._knobs.checked(parameter.name, parameter.value)
        elif parameter.name == "policy":
            # Here, in the thread of parameters, so that a bad file is refused while the old policy goes on.
            policy = _load(parameter.value, self._spec)
            labels = policy.contract.task.goal_labels
            if labels != self._goals.labels:
                raise PolicyError(
                    f"{parameter.value}: its goal is ({', '.join(labels)}), the one that runs has "
                    f"({', '.join(self._goals.labels)})"
                )
            assert self._knobs is not None
            runner = self._knobs.follow(policy, parameter.value)
            self._goals.retrain(policy.contract.task.goal_ranges)
            self.loop.swap(runner)
            self.get_logger().info(f"policy {policy.contract.name} from {parameter.value} takes over")
        else:
            raise ConfigurationError(f"parameter {parameter.name!r} is read at configure; clean the node up first")

    def _take_velocity(self, loop: PolicyLoop, message: Twist) -> None:
        forward, left, turn = message.linear.x, message.linear.y, message.angular.z
        try:
            if not loop.goals.command_velocity(forward, left, turn, time.monotonic()):
                reason = f"({forward:g}, {left:g}, {turn:g}) is outside of what the policy saw in training"
                loop.supervision.warn("cmd_vel", reason)
        except RobotRLError as error:
            loop.supervision.warn("cmd_vel", str(error))


def _take_temperature(loop: PolicyLoop, message: Temperature) -> None:
    loop.supervision.check_temperature(message.header.frame_id, message.temperature)


def _take_weights(knobs: Knobs, loop: PolicyLoop, message: Float64MultiArray) -> None:
    try:
        knobs.set("weights", list(message.data))
    except RobotRLError as error:
        loop.supervision.warn("weights", str(error))


def _load(path: str, spec: RobotSpec) -> AnyPolicy:
    if not Path(path).is_file():
        raise ConfigurationError(f"there is no policy file at {path}")
    policy = load_policy(path, robot=spec)
    if isinstance(policy, SeeingPolicy):
        raise ConfigurationError(
            f"{path} looks at a camera, and over ROS no pictures are read; a program of your own can run it with "
            "policies.seeing_runtime.SeeingRunner"
        )
    return policy


def main() -> int:
    """Runs the node until SIGINT or SIGTERM; returns the exit code."""
    wanted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wanted.set())
    from hardware.deployment import Deployment

    deployment = Deployment({})
    try:
        if deployment.node.get_parameter("autostart").value:
            for name in ("configure", "activate"):
                call = deployment.transition(name)
                while not call.wait(0.1):
                    if wanted.is_set():
                        return 0
                call.result()
        while not wanted.wait(0.1):
            deployment.check()
        if deployment.node.label == "active":
            deployment.transition("deactivate").wait(10.0)
    except RobotRLError as error:
        print(f"policy node: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    finally:
        deployment.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
