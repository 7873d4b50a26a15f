"""A robot on the other side of ROS 2 topics, as a `Robot` like any other."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.commanders import LOOK, UNKNOWN, other_commander
from hardware.session import RosSession, on_this_machine
from hardware.simulator_client import SimulatorClient
from hardware.state_receiver import StateReceiver, type_name
from robot_rl.arrays import all_finite, frozen, kept
from robot_rl.errors import HelpNeeded, InvalidInput, RobotFault, RobotTimeout
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.ros_spec import RosSettings
from robot_rl.spec import RobotSpec
from robot_rl.timing import Rate, TimingLog

__all__ = ["RosRobot", "RosSettings"]

Array = NDArray[np.floating]

_PATIENCE = 0.5
"""s until a simulator that waits for commands is sent the same one again; a message can be lost."""
_SILENCE = 1.0
"""s in which a robot whose state is old must be heard again, or its reset fails; who resets it may try again."""


class RosRobot:
    """The `Robot` protocol over topics; one object at a time may command a robot.

    A tick is due one control period after the last, on absolute deadlines; in lock step, when the simulator's clock
    says so. Every fault of the stream (silence, nonsense, a wrong robot) is an error, never the last value again.

    Attributes:
        timing: period, compute time and state age of each tick.
        late: s by which the last tick was late, in sending its command or in reading what came of it.
    """

    def __init__(self, spec: RobotSpec, settings: RosSettings | None = None, session: RosSession | None = None) -> None:
        """Connects, and waits until the robot answers.

        Args:
            spec: the robot, its `ros` section above all.
            settings: see `RosSettings`.
            session: to use instead of one of its own; it is then closed by whoever made it.

        Raises:
            RobotTimeout: the robot does not answer; says what was seen.
            RobotFault: somebody else commands it already.
        """
        self.spec = spec
        self.settings = settings or RosSettings()
        self._own_session = session is None
        self._session = session or RosSession("robot_rl", self.settings.namespace)
        self.node: Node = self._session.node
        self.timing = TimingLog()
        self.late = 0.0
        self._rate = Rate(spec.control_dt)
        self._epoch = 0.0
        self._applied: Array = frozen(np.array(spec.home))
        self._answered = 0.0
        self._worked_until = 0.0
        self._following = False
        self._serving = threading.Lock()
        self._closed = False
        self._publisher: Any = None
        self._command_topic = ""
        try:
            self.receiver = StateReceiver(spec, self.node, not self.settings.lock_step, self._session.leaving)
            if spec.ros.command in ("velocity", "effort"):
                self.receiver.on_joints = self._servo
            self._simulator = SimulatorClient(self.node)
            self._session.start()
            self.receiver.wait_ready(spec.ros.connect_timeout)
            if self.settings.lock_step:
                self._simulator.wait(spec.ros.connect_timeout)
            # No publisher before: somebody who only asks must not look like somebody who commands.
            self._look_for_others()
            self._publisher = self._command_publisher()
            self._wait_for_listener()
        except BaseException:
            self.close()
            raise
        self.provides = self.receiver.provides

    @property
    def robot_time(self) -> float:
        """s, of the robot's own clock: the stamp of the last state, counted from no reset."""
        return self._answered

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Brings the robot to `start`.

        A simulator is told to begin there, its noise seeded from `rng`. A robot moves its joints there slowly, rests,
        and must then stand as it should.

        Raises:
            HelpNeeded: the joints did not arrive, or the base is not upright.
            RobotFault: the simulator refused.
            RobotTimeout: the robot is silent; that is not waited for, but for a moment.
        """
        if self.simulated and self.settings.reset == "auto":
            self._check_heard()
            stamp = self._simulator.reset(start, int(rng.integers(2**31)), self.spec, self._check_heard)
            self._applied = frozen(np.array(start.joint_position))
            ros = self.spec.ros
            patience = ros.connect_timeout if self.settings.lock_step else max(ros.state_timeout, _SILENCE)
            self.receiver.wait_for(stamp, patience)
        else:
            self.move_to(start.joint_position)
        return self.begin()

    @property
    def simulated(self) -> bool:
        """Whether a simulator answers, which can begin an episode anywhere at once."""
        return self._simulator.present

    def begin(self) -> RobotState:
        """Reads the robot and starts the clock of an episode; the next tick is due one period from now."""
        self.receiver.restart_estimate()
        state, _ = self._fresh()
        self._epoch += float(state.stamp)
        state, _ = self._read()
        self._rate.start()
        self._worked_until = time.monotonic()
        return state

    def step(self, command: JointCommand) -> RobotState:
        """Sends a command and returns the state at the next control tick.

        Raises:
            InvalidInput: the command has another shape or is not finite; nothing was sent.
            RobotTimeout: the state is too old.
        """
        self.send(command.position)
        return self.next_state()

    def next_state(self) -> RobotState:
        """Waits for the next control tick and reads the state there; the second half of `step`.

        Raises:
            RobotTimeout: the state is too old.
        """
        self._session.check()
        before = self._worked_until
        compute = time.monotonic() - before
        overrun = False
        if self.settings.lock_step:
            self._await_simulator(self._applied)
        else:
            missed = self._rate.missed
            self.late = max(compute, self._rate.wait())
            overrun = self._rate.missed > missed
        state, age = self._read()
        now = time.monotonic()
        self.timing.add(now - before, compute, age, overrun=overrun)
        self._worked_until = now
        return state

    def send(self, position: Array) -> None:
        """Publishes a command without waiting.

        Args:
            position: (n,), rad or m.

        Raises:
            InvalidInput: another shape or not finite; nothing was sent.
        """
        spec = self.spec
        if position.shape != (spec.joints,):
            raise InvalidInput(
                f"joint command of robot {spec.name!r}: expected shape ({spec.joints},), got {position.shape}"
            )
        if not all_finite(position):
            bad = [name for name, value in zip(spec.joint_names, position, strict=True) if not np.isfinite(value)]
            raise InvalidInput(f"joint command of robot {spec.name!r} is not finite in: {', '.join(bad)}")
        if spec.ros.command in ("velocity", "effort"):
            with self._serving:
                self._applied, self._following = kept(position), True
            return
        self._applied = kept(position)
        if spec.ros.command == "trajectory":
            self._publisher.publish(
                messages.write_trajectory(spec.joint_names, self._applied, self._answered, spec.control_dt)
            )
        else:
            self._publisher.publish(messages.write_command(self._applied, self._answered))

    def release(self) -> None:
        """Sends nothing more until the next command, so that the robot's own side decides; so it is on return."""
        with self._serving:
            self._following = False

    def move_to(self, joint_position: Array) -> None:
        """Moves the joints on straight lines, the fastest at `move_speed`, then rests for `settle_time`.

        Raises:
            HelpNeeded: a joint is further from where it should be than the robot's weight explains, or the base lies on
                its side.
        """
        state, _ = self._fresh()
        first = np.array(state.joint_position)
        way = joint_position - first
        moving = float(np.abs(way).max()) / self.settings.move_speed
        ticks = max(1, round(moving * self.spec.control_rate))
        resting = round(self.settings.settle_time * self.spec.control_rate)
        self._rate.start()
        for tick in range(1, ticks + resting + 1):
            wanted = first + way * min(1.0, tick / ticks)
            self._answered = self.receiver.stamp
            self.send(wanted)
            if self.settings.lock_step:
                self._await_simulator(wanted)
            else:
                self._rate.wait()
            state, _ = self._fresh()
        off = np.abs(state.joint_position - joint_position)
        # A proportional controller gives way under a load, by a quarter radian in the knees of a Go2 that stands.
        allowed = 0.2 + 0.25 * self.spec.effort_limit / np.maximum(self.spec.kp, 1e-3)
        worst = int(np.argmax(off - allowed))
        if off[worst] > allowed[worst]:
            raise HelpNeeded(
                f"robot {self.spec.name!r} did not reach its start: {self.spec.joint_names[worst]} is "
                f"{off[worst]:.2f} rad away; free the joint"
            )
        if state.orientation_xyzw is not None and state.gravity[2] > -0.5:
            raise HelpNeeded(f"robot {self.spec.name!r} is not upright; put it on its feet")

    def stop(self) -> None:
        """Tells the joints to stay where they are; from any thread.

        A robot that cannot be read gets nothing more, joint states or not, and stops by itself. On return nothing is
        sent any more that follows an earlier command.
        """
        if self._closed:
            return
        try:
            state, _ = self._fresh()
        except (RobotTimeout, KeyError):
            return
        self.send(np.clip(state.joint_position, self.spec.lower, self.spec.upper))

    def close(self) -> None:
        """Leaves the robot; may be called any number of times."""
        if self._closed:
            return
        self._closed = True
        if self._own_session:
            self._session.close()

    def _check_heard(self) -> None:
        """Raises RobotTimeout where the robot is silent; a simulator that waits for commands may be."""
        if not self.settings.lock_step:
            self.receiver.wait_fresh(_SILENCE)

    def _await_simulator(self, position: Array) -> None:
        """Waits for the reading that answers a command."""
        due = self._answered + self.spec.control_dt
        deadline = time.monotonic() + self.spec.ros.connect_timeout
        while True:
            try:
                return self.receiver.wait_for(due, min(_PATIENCE, max(0.0, deadline - time.monotonic())))
            except RobotTimeout:
                if time.monotonic() >= deadline:
                    raise
            self.send(position)

    def _fresh(self) -> tuple[RobotState, float]:
        """The newest state and its age.

        Without one the robot gets nothing more, whether joint states still come or not, so that its own side stops it.
        """
        try:
            return self.receiver.read(self._applied, self._epoch)
        except RobotTimeout:
            self.release()
            raise

    def _read(self) -> tuple[RobotState, float]:
        """The newest state and its age; in lock step its stamp is a whole number of ticks, alike in every episode."""
        state, age = self._fresh()
        self._answered = self._epoch + float(state.stamp)
        if self.settings.lock_step:
            dt = self.spec.control_dt
            state = replace(state, stamp=round(float(state.stamp) / dt) * dt)
        return state, age

    def _command_publisher(self) -> Any:
        kind = JointTrajectory if self.spec.ros.command == "trajectory" else Float64MultiArray
        # Controllers of ros2_control subscribe reliably; a best-effort publisher would never meet them.
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        return self.node.create_publisher(kind, self.spec.ros.command_topic, quality)

    def _servo(self, position: Array, velocity: Array) -> None:
        """Closes the position loop at the rate of the joint states, for robots that take velocities or efforts."""
        with self._serving:
            if not self._following:
                return
            spec, error = self.spec, self._applied - position
            if spec.ros.command == "effort":
                value = np.clip(spec.kp * error - spec.kd * velocity, -spec.effort_limit, spec.effort_limit)
            else:
                # The velocity at which the damping of a PD controller would balance its stiffness.
                stiffness = spec.kp / np.maximum(spec.kd, 1e-3)
                value = np.clip(stiffness * error, -spec.velocity_limit, spec.velocity_limit)
            self._publisher.publish(messages.write_command(value, self._answered))

    def refuse_second(self) -> None:
        """Two programs that command one robot in turns would shake it to pieces.

        Raises:
            RobotFault: somebody else commands it.
        """
        for _ in range(20):
            other = self.other_commander()
            if other != UNKNOWN:
                break
            time.sleep(0.05)  # a publisher is found a little sooner than its name
        if other:
            raise RobotFault(
                f"robot {self.spec.name!r} is commanded already: node {other!r} publishes {self._command_topic}"
            )

    def other_commander(self) -> str:
        """Name of another node that publishes commands for this robot; empty if there is none."""
        return other_commander(self.node, self._command_topic, self._publisher is not None)

    def _wait_for_listener(self) -> None:
        """A command that is sent before its way is known is lost."""
        deadline = time.monotonic() + self.spec.ros.connect_timeout
        while self._publisher.get_subscription_count() == 0:
            if time.monotonic() > deadline or self._session.leaving.wait(0.02):
                wanted = type_name(self._publisher.msg_type)
                infos = self.node.get_subscriptions_info_by_topic(self._command_topic)
                others = [info.topic_type for info in infos if info.topic_type != wanted]
                what = f"whoever listens there expects {others[0]}" if others else "nobody listens there"
                raise RobotTimeout(
                    f"robot {self.spec.name!r} takes no commands on {self._command_topic} ({wanted}): {what}"
                )

    def _look_for_others(self) -> None:
        """Looks a while longer than the robot took to answer: whoever commands it may be found a little later."""
        self._command_topic = self.node.resolve_topic_name(self.spec.ros.command_topic)
        deadline = time.monotonic() + LOOK[on_this_machine()]  # after it has answered
        while time.monotonic() < deadline:
            self.refuse_second()
            if self._session.leaving.wait(0.05):
                raise RobotTimeout(f"robot {self.spec.name!r}: no longer waiting for it")
