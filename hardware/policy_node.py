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
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from hardware.emergency_stop import EmergencyStop
from hardware.goals import Goals
from hardware.knobs import Knobs
from hardware.policy_interface import PolicyInterface
from hardware.policy_loop import LoopSettings, PolicyLoop
from hardware.policy_parameters import PARAMETERS, PolicyParameters
from hardware.real_time import RealTime
from hardware.recorder_process import RecorderProcess
from hardware.robot_side import RobotSide
from hardware.ros_robot import RosRobot, RosSettings
from hardware.session import RosSession
from hardware.supervision import Supervision
from policies.composed_runtime import new_runner
from policies.contract import Contract
from robot_rl.errors import RobotFault, RobotRLError
from robot_rl.safety import StopLatch
from robot_rl.spec import RobotSpec
from robot_rl.task import Task

NAME = "policy"
MakeTask = Callable[[Any, RobotSpec], Task | None]
"""From a policy's contract and a robot to the task that measures it."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PolicyNode(LifecycleNode):
    """See the module.

    Attributes:
        session: serves this node; set by whoever made it.
        loop: the control loop, while configured.
        fault: why the last transition failed, as the error that caused it.
        cure: what a person shall do to end a stop; a command that ends with the node tells another way.
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
        self.cure = f"call {name}/reset"
        self._make_task = make_task
        self._io: RosSession | None = None
        self._robot: RosRobot | None = None
        self._side: RobotSide | None = None
        self._interface: PolicyInterface | None = None
        self._given = PolicyParameters(self, PARAMETERS)
        # Here, so that a cleanup does not end a stop.
        self._latch = StopLatch()
        self._emergency_stop = EmergencyStop(self.stop, self._end_stop, lambda: self._latch.reason)

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
        given, value = self._given, self._given.value
        spec = given.robot_spec()
        policy = given.policy(spec)
        contract = policy.contract
        goals = Goals(contract.task.goal_labels, contract.task.goal_ranges, value("cmd_vel_timeout"))
        given.goals = goals
        lock_step = value("lock_step")
        # No services that nobody needs: the fewer there are to wait for, the sooner a message is taken.
        self._io = RosSession(
            f"{self.get_name()}_io", self.get_namespace(), beside=self.session, start_parameter_services=False
        )
        try:
            # First of all: one that is held down is heard while the robot is still looked for.
            self._emergency_stop.listen(self._io.node, self.get_name(), value("estop_button"))
            given.declare_goals(goals)
            runner = new_runner(policy, value("weight_rate"))
            knobs = Knobs(runner)
            given.declare_knobs(knobs)
            if self.session.leaving.is_set():
                raise RobotFault("no longer wanted")
            self._side = RobotSide(self._io.node)
            robot = self._robot = RosRobot(spec, RosSettings(lock_step=lock_step), self._io)
            supervision = Supervision(spec, self._report, self._latch)
            settings = LoopSettings(
                settle_time=value("settle_time"),
                blend_time=value("blend_time"),
                real_time=RealTime(*(value(name) for name in ("priority", "lock_memory", "pause_collector"))),
            )
            task = self._make_task(contract, spec) if self._make_task else None
            self.loop = given.loop = PolicyLoop(robot, runner, goals, supervision, self._side, settings, task)
            self.loop.recorder = self._recorder(contract, spec)
            self._open(robot.node, self.loop, knobs, self._side)
            self._side.wait_present(1.0)
            self.simulated = robot.simulated
        except BaseException:
            self._release()
            raise
        self.get_logger().info(f"configured: {contract.name} on {spec.name}, {spec.control_rate:g} Hz")

    def _open(self, node: Any, loop: PolicyLoop, knobs: Knobs, side: RobotSide) -> None:
        """Everything that must be served while a transition runs."""
        self._interface = PolicyInterface(node, self.get_name(), loop, knobs, self.stop)
        side.on_latched = lambda reason: self.stop(f"the robot's side stopped: {reason}", "robot_side")
        loop.on_end = partial(self._soon, self._settle)

    def _activate(self) -> None:
        assert self.loop is not None
        assert self._side is not None
        assert self._robot is not None
        if self._side.latched and not self.loop.supervision.stopped:
            # A clear that was just asked for may still be on its way.
            self._side.wait(latched=False, timeout=1.0)
        side = self._side.latched and f"{self._side.latched} (as the robot's side calls every stop asked of it)"
        stopped = self._latch.reason or side or self._emergency_stop.held
        if stopped:
            raise RobotFault(f"robot {self._robot.spec.name!r} is stopped: {stopped}; {self.cure}")
        self._robot.refuse_second()
        self._robot.receiver.wait_new(self._robot.spec.ros.connect_timeout)
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
        if not self._given.value("record"):
            return None
        return RecorderProcess(
            self._given.value("record"),
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
        self._given.forget()
        self.loop = self._io = self._robot = self._side = self._interface = None

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
        loop = self.loop
        if loop is not None:
            loop.stop(check, reason)
        elif self._latch.set(reason):  # nothing moves yet, and nothing shall
            self._report("stop", f"stopped ({check}): {reason}")

    def reset(self) -> str:
        """Ends a stop on both sides; the node has to be activated again. Returns what the reason was.

        Raises:
            RobotFault: an emergency stop is held down; the stop stays.
        """
        return self._emergency_stop.reset()

    def _end_stop(self) -> str:
        was, side = self._latch.clear(), self._side
        if side is not None:
            was = was or side.latched
            side.clear()
        if was:
            self.get_logger().info(f"stop reset; it was: {was}")
        self._publish()
        return was

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

    def _publish(self) -> None:
        interface = self._interface
        if interface is not None:
            interface.publish()


def main() -> int:
    """Runs the node until SIGINT or SIGTERM; returns the exit code."""
    wanted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wanted.set())
    from hardware.deployment import Deployment

    deployment: Deployment | None = None
    try:
        deployment = Deployment({})
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
        if deployment is not None:
            deployment.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
