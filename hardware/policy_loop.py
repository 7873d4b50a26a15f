"""The control loop of a policy on a robot, in a thread of its own: ramp in, run, stand, ramp out, and stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.episode import EpisodeMeter, EpisodeReport
from hardware.goals import Goals
from hardware.policy_topics import about_settings
from hardware.ramp import BLEND_TIME, Ramp
from hardware.real_time import RealTime, real_time
from hardware.recorder_process import RecorderProcess
from hardware.robot_side import RobotSide
from hardware.ros_robot import RosRobot
from hardware.supervision import Supervision
from policies.runtime import PolicyRunner
from robot_rl.errors import RobotFault, RobotRLError, RobotTimeout
from robot_rl.robot import RobotState
from robot_rl.task import Step, Task
from robot_rl.timing import TimingLog

Array = NDArray[np.floating]

_ARRIVED = 0.5
"""rad or m that a joint may be away from rest when the policy takes over: under its weight a soft robot sags by half of
that, and one without power is further away."""

_ASK_AGAIN = 0.2
"""s after which the robot's own side is asked to stop once more, until it says that it has."""


@dataclass(frozen=True)
class LoopSettings:
    """How a policy takes over a robot and leaves it."""

    settle_time: float = 0.5
    """s of standing still at rest before the policy takes over."""
    blend_time: float = BLEND_TIME
    """s in which its commands grow from rest to their full size."""
    real_time: RealTime = field(default_factory=RealTime)


class PolicyLoop:
    """Runs a policy on a robot from `start` until `ramp_out`, a stop or `end`.

    Attributes:
        limit: ticks of the policy after which it ramps out by itself; None for no limit.
        recorder: of what the policy sees and does, an episode for each time it moves the robot; or None.
        phase: idle, ramp in, policy, stand, ramp out or stopped.
        report: of the run that ended last, or None.
        failure: an error that is no fault of the robot.
        on_tick: called after every tick with the phase, in the thread of the loop.
        on_end: called when the loop has ended or the robot has been stopped, in the thread of the loop.
    """

    def __init__(
        self,
        robot: RosRobot,
        runner: PolicyRunner,
        goals: Goals,
        supervision: Supervision,
        side: RobotSide,
        settings: LoopSettings,
        task: Task | None = None,
    ) -> None:
        """Puts the parts together; nothing moves yet.

        Args:
            robot: to command.
            runner: of the policy.
            goals: what it is asked to do.
            supervision: stops it.
            side: of the robot.
            settings: see `LoopSettings`.
            task: what the policy is for, where its success shall be measured.
        """
        self.robot, self.goals, self.supervision = robot, goals, supervision
        self.limit: int | None = None
        self.recorder: RecorderProcess | None = None
        self.phase = "idle"
        self.report: EpisodeReport | None = None
        self.failure: BaseException | None = None
        self.on_tick: Callable[[str], None] = lambda _: None
        self.on_end: Callable[[], None] = lambda: None
        self._runner = runner
        self._next: PolicyRunner | None = None
        self._side, self._settings, self._task = side, settings, task
        self._rest = robot.spec.safety.rest
        self._meter = EpisodeMeter(robot.spec.control_dt)
        self._sending = threading.Lock()
        self._leaving = False
        self._ended = threading.Event()
        self._driven = threading.Event()
        self._driven.set()
        self._thread: threading.Thread | None = None
        self._ramp: Ramp | None = None
        self._policy_ticks = 0

    # -- what other threads call --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to ramp in."""
        self.end()
        self._leaving, self.failure, self.report = False, None, None
        self._ended.clear()
        self._driven.clear()
        self.phase = "ramp in"
        self._thread = threading.Thread(target=self._run, name="control")
        self._thread.start()

    def ramp_out(self) -> None:
        """Brings the joints to rest, then ends; `wait` tells when."""
        self._leaving = True

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing but a stop is commanded any more; returns whether that is so."""
        return self._driven.wait(timeout)

    def end(self) -> None:
        """Ends at once and joins the thread."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def stop(self, check: str, reason: str) -> None:
        """Stops the robot; when this returns, nothing is sent any more that follows a command of the policy."""
        try:
            with self._sending:
                if self.supervision.stop(check, reason) and self.running:
                    # Not at the next tick: until then efforts or velocities would follow the policy's last command.
                    self.robot.stop()
        finally:
            self._side.stop()

    def swap(self, runner: PolicyRunner) -> None:
        """Lets another policy go on from the next tick."""
        self._next = runner

    @property
    def running(self) -> bool:
        """Whether it commands the robot to do anything but stop."""
        return not self._driven.is_set()

    @property
    def runner(self) -> PolicyRunner:
        """Of the policy that acts now."""
        return self._runner

    @property
    def ticks(self) -> int:
        """Of the policy in this run so far."""
        return self._meter.ticks

    @property
    def figures(self) -> dict[str, float]:
        """Means of the task's figures in this run so far."""
        return self._meter.mean

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with real_time(self._settings.real_time) as warnings:
                for warning in warnings:
                    self.supervision.warn("real_time", warning)
                self._drive()
        except RobotTimeout as error:
            self.stop("stale_state", str(error))
        except RobotRLError as error:
            self.stop("fault", str(error))
        except BaseException as error:
            self.failure = error
            self.stop("bug", f"{type(error).__name__}: {error}")
        finally:
            stopped = self.supervision.stopped
            if stopped:
                self._side.stop()
            self._end_record(stopped or "ended")
            self.report = self._meter.report(self.robot.timing, self.supervision.counts, stopped)
            self.phase = "stopped" if stopped else "idle"
            with self._sending:  # a stop that began before has told the robot so
                self._driven.set()
            self.on_end()
            if stopped:
                self._hold()
            self.robot.release()

    def _drive(self) -> None:
        robot = self.robot
        robot.timing = TimingLog()
        self._meter = EpisodeMeter(robot.spec.control_dt, self._task, robot.provides)
        state = robot.begin()
        self.supervision.begin(state.joint_position)
        self._ramp_to_rest("ramp in", self._settings.settle_time)
        while not self._ended.is_set() and not self.supervision.stopped:
            if self.phase == "policy":
                action = self._runner.action
            elif self._arrived():
                if self._leaving:
                    return
                if self.phase == "ramp in":
                    self._check_standing(state)
                if self._wanted():
                    state, action = self._begin_policy(), self._runner.action
            command = self._command(state)
            if not self._send(command):
                return
            self._record()
            before, state = state, robot.next_state()
            moving = self.phase == "policy"
            self.supervision.check(state, robot.late, moving)
            if moving:
                self._meter.add(Step(before, self._runner.action, action, state, self._runner.goal))
                self._leaving = self._leaving or self._meter.ticks == self.limit
            self.on_tick(self.phase)
        if self.running and not self.supervision.stopped:
            robot.stop()

    def _wanted(self) -> bool:
        """Whether the policy shall move the robot."""
        return not self._leaving and not self.goals.now(time.monotonic()).stand

    def _arrived(self) -> bool:
        return self._ramp is not None and self._ramp.finished

    def _ramp_to_rest(self, phase: str, settle_time: float = 0.0) -> None:
        self._end_record(phase)
        self.phase = phase
        spec = self.robot.spec
        first = self.supervision.previous
        self._ramp = Ramp(first, self._rest, spec.safety.rest_speed, spec.control_dt, settle_time)

    def _begin_policy(self) -> RobotState:
        """Starts the clock of a run."""
        self.phase, self._policy_ticks = "policy", 0
        state = self.robot.begin()
        if self._meter.ticks == 0:
            self.robot.timing = TimingLog()
            self._meter.begin(state)
        self._runner.reset(self.goals.now(time.monotonic()).values)
        if self.recorder is not None:
            contract = self._runner.policy.contract
            about = about_settings(contract.task.settings, contract.observation_settings)
            blend = self._settings.blend_time
            self.recorder.begin_episode(self._runner.goal, self.supervision.previous, blend_time=blend, **about)
        return state

    def _record(self) -> None:
        if self.recorder is not None and self.phase == "policy":
            runner, applied = self._runner, self.supervision.previous
            self.recorder.policy(runner.observation, runner.action, applied, runner.goal, self.robot.robot_time)

    def _end_record(self, reason: str) -> None:
        if self.recorder is not None and self.phase == "policy":
            self.recorder.end_episode(reason, self.robot.robot_time)

    def _command(self, state: RobotState) -> Array:
        if self._leaving and self.phase != "ramp out":
            self._ramp_to_rest("ramp out")
        elif self.phase == "policy" and not self._wanted():
            self._ramp_to_rest("stand")
        if self.phase != "policy":
            assert self._ramp is not None
            return self._ramp.next()
        following, self._next = self._next, None
        if following is not None:
            following.take_over(self._runner)
            self._runner = following
        self._runner.goal = self.goals.now(time.monotonic()).values
        wanted = self._runner.step(state).position
        self._policy_ticks += 1
        share = self._policy_ticks * self.robot.spec.control_dt / max(self._settings.blend_time, 1e-9)
        return wanted if share >= 1.0 else self._rest + share * (wanted - self._rest)

    def _send(self, command: Array) -> bool:
        """Sends a command after limits, unless something has stopped the robot."""
        with self._sending:
            if self.supervision.stopped:
                return False
            applied = self.supervision.limit(command)
            self.robot.send(applied)
            return True

    def _check_standing(self, state: RobotState) -> None:
        spec = self.robot.spec
        away = np.abs(state.joint_position - self._rest)
        worst = int(np.argmax(away))
        if away[worst] > _ARRIVED:
            raise RobotFault(
                f"robot {spec.name!r} does not follow: {spec.joint_names[worst]} is {away[worst]:.2f} rad away from "
                "its rest pose; is its power on, and its own stop cleared?"
            )
        if state.orientation_xyzw is not None and state.gravity[2] > -0.5:
            raise RobotFault(f"robot {spec.name!r} is not upright; put it on its feet")

    def _hold(self) -> None:
        """Holds the joints where they are until the robot's own side has stopped, or the stop is reset.

        While the state is lost, nothing is sent. When it comes back, the joints may be elsewhere: they are held where
        they are then, if the robot's watchdog has not acted yet; once it has, only a reset ends that.
        """
        target: Any = None
        dt, limit = self.robot.spec.control_dt, self.robot.spec.ros.command_timeout
        asked = commanded = time.monotonic()
        while self.supervision.stopped and not self._side.latched and not self._ended.is_set():
            try:
                state, _ = self.robot.receiver.read(self.supervision.previous, 0.0)
            except RobotTimeout:
                self.robot.release()
                target = None
            else:
                if time.monotonic() - commanded <= limit:
                    if target is None:
                        target = np.clip(state.joint_position, self.robot.spec.lower, self.robot.spec.upper)
                    self.robot.send(target)
                    commanded = time.monotonic()
            if time.monotonic() - asked > _ASK_AGAIN:
                asked = time.monotonic()
                self._side.stop()
            self.on_tick("stopped")
            self._ended.wait(dt)
