"""A robot on the other side of ROS 2 topics, as a `Robot` like any other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from hardware import messages
from hardware.session import RosSession
from hardware.simulator_client import SimulatorClient
from hardware.state_receiver import StateReceiver
from robot_rl.arrays import all_finite, frozen, kept
from robot_rl.errors import InvalidInput, RobotFault, RobotTimeout
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from robot_rl.timing import Rate, TimingLog

Array = NDArray[np.floating]


@dataclass(frozen=True)
class RosSettings:
    """How a program speaks to a robot over ROS; what the robot's file does not say."""

    namespace: str = ""
    """Before all relative topic names."""
    lock_step: bool = False
    """Whether the other side is a simulator that waits for each command; ticks then follow its clock."""
    settle_time: float = 1.0
    """s of standing still after moving to the start of an episode."""
    move_speed: float = 0.8
    """rad/s (m/s) of the fastest joint while moving to the start of an episode."""


class RosRobot:
    """The `Robot` protocol over topics; one object at a time may command a robot.

    A tick is due one control period after the last, on absolute deadlines; in lock step, when the simulator's clock
    says so. Every fault of the stream (silence, nonsense, a wrong robot) is an error, never the last value again.

    Attributes:
        timing: period, compute time and state age of each tick.
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
        self._rate = Rate(spec.control_dt)
        self._epoch = 0.0
        self._applied: Array = frozen(np.array(spec.home))
        self._answered = 0.0
        self._worked_until = 0.0
        self._following = False
        self._closed = False
        try:
            self.receiver = StateReceiver(spec, self.node, paced=not self.settings.lock_step)
            self._publisher = self._command_publisher()
            if spec.ros.command in ("velocity", "effort"):
                self.receiver.on_joints = self._servo
            self._simulator = SimulatorClient(self.node)
            self._session.start()
            self.receiver.wait_ready(spec.ros.connect_timeout)
            self._refuse_second()
        except BaseException:
            self.close()
            raise
        self.provides = self.receiver.provides

    def reset(self, start: Start, rng: np.random.Generator) -> RobotState:
        """Brings the robot to `start`.

        A simulator is told to begin there, its noise seeded from `rng`. A robot moves its joints there slowly, rests,
        and must then stand as it should.

        Raises:
            RobotFault: the joints did not arrive, or the base is not upright.
        """
        if self._simulator.present:
            stamp = self._simulator.reset(start, int(rng.integers(2**31)), self.spec)
            self._applied = frozen(np.array(start.joint_position))
            self.receiver.wait_for(stamp, self.spec.ros.connect_timeout)
        else:
            self.move_to(start.joint_position)
        return self.begin()

    def begin(self) -> RobotState:
        """Reads the robot and starts the clock of an episode; the next tick is due one period from now."""
        self.receiver.restart_estimate()
        state, _ = self.receiver.read(self._applied, self._epoch)
        self._epoch += float(state.stamp)
        state, _ = self.receiver.read(self._applied, self._epoch)
        self._answered = self.receiver.stamp
        self._rate.start()
        self._worked_until = time.monotonic()
        return state

    def step(self, command: JointCommand) -> RobotState:
        """Sends a command and returns the state at the next control tick.

        Raises:
            InvalidInput: the command has another shape or is not finite; nothing was sent.
            RobotTimeout: the state is too old.
        """
        self._session.check()
        before = self._worked_until
        self.send(command.position)
        compute = time.monotonic() - before
        if self.settings.lock_step:
            self.receiver.wait_for(self._answered + self.spec.control_dt, self.spec.ros.connect_timeout)
            overrun = False
        else:
            missed = self._rate.missed
            self._rate.wait()
            overrun = self._rate.missed > missed
        state, age = self.receiver.read(self._applied, self._epoch)
        self._answered = self.receiver.stamp
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
        self._applied = kept(position)
        if spec.ros.command == "trajectory":
            self._publisher.publish(
                messages.write_trajectory(spec.joint_names, self._applied, self._answered, spec.control_dt)
            )
        elif spec.ros.command == "position":
            self._publisher.publish(messages.write_command(self._applied, self._answered))
        else:
            self._following = True

    def move_to(self, joint_position: Array) -> None:
        """Moves the joints on straight lines, the fastest at `move_speed`, then rests for `settle_time`.

        Raises:
            RobotFault: a joint is further than .2 rad from where it should be, or the base lies on its side.
        """
        state, _ = self.receiver.read(self._applied, self._epoch)
        first = np.array(state.joint_position)
        way = joint_position - first
        moving = float(np.abs(way).max()) / self.settings.move_speed
        ticks = max(1, round(moving * self.spec.control_rate))
        resting = round(self.settings.settle_time * self.spec.control_rate)
        self._rate.start()
        for tick in range(1, ticks + resting + 1):
            self.send(first + way * min(1.0, tick / ticks))
            if self.settings.lock_step:
                self.receiver.wait_for(self.receiver.stamp + self.spec.control_dt, self.spec.ros.connect_timeout)
            else:
                self._rate.wait()
            state, _ = self.receiver.read(self._applied, self._epoch)
        off = np.abs(state.joint_position - joint_position)
        worst = int(np.argmax(off))
        if off[worst] > 0.2:
            raise RobotFault(
                f"robot {self.spec.name!r} did not reach its start: {self.spec.joint_names[worst]} is "
                f"{off[worst]:.2f} rad away"
            )
        if state.orientation_xyzw is not None and state.gravity[2] > -0.5:
            raise RobotFault(f"robot {self.spec.name!r} is not upright; put it on its feet")

    def stop(self) -> None:
        """Tells the joints to stay where they are; a robot that has been silent gets nothing, and stops by itself."""
        if self._closed:
            return
        try:
            state, _ = self.receiver.read(self._applied, self._epoch)
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

    def _command_publisher(self) -> Any:
        kind = JointTrajectory if self.spec.ros.command == "trajectory" else Float64MultiArray
        # Controllers of ros2_control subscribe reliably; a best-effort publisher would never meet them.
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        return self.node.create_publisher(kind, self.spec.ros.command_topic, quality)

    def _servo(self, position: Array, velocity: Array) -> None:
        """Closes the position loop at the rate of the joint states, for robots that take velocities or efforts."""
        if not self._following:
            return
        spec, error = self.spec, self._applied - position
        if spec.ros.command == "effort":
            value = np.clip(spec.kp * error - spec.kd * velocity, -spec.effort_limit, spec.effort_limit)
        else:
            # The velocity at which the damping of a PD controller would balance its stiffness.
            value = np.clip(spec.kp / np.maximum(spec.kd, 1e-3) * error, -spec.velocity_limit, spec.velocity_limit)
        self._publisher.publish(messages.write_command(value, self._answered))

    def _refuse_second(self) -> None:
        """Two programs that command one robot in turns would shake it to pieces."""
        others = [
            info.node_name
            for info in self.node.get_publishers_info_by_topic(self._publisher.topic_name)
            if info.endpoint_gid != self._own_gid()
        ]
        if others:
            raise RobotFault(
                f"robot {self.spec.name!r} is commanded already: node {others[0]!r} "
                f"publishes {self._publisher.topic_name}"
            )

    def _own_gid(self) -> Any:
        own = [
            info.endpoint_gid
            for info in self.node.get_publishers_info_by_topic(self._publisher.topic_name)
            if info.node_name == self.node.get_name() and info.node_namespace == self.node.get_namespace()
        ]
        return own[0] if own else None
