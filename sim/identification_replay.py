"""Replays the commands of a motion log in simulation, with whatever numbers a robot may have."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.motion_log import MotionLog
from robot_rl.robot import Start
from robot_rl.spec import RobotSpec
from sim.mujoco_model import held_spec
from sim.mujoco_reader import MujocoReader
from sim.placing import place_at_start
from sim.randomization import BoundTerms, Randomization
from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]

_SETTLING = {"held": 0.5, "standing": 1.0}
"""s under the first command before anything moves."""
_BURN_IN = 0.8
"""s of motion that are not compared: how dry friction holds a robot at rest depends on how it came there."""
_AT_REST = 1.0
"""s before the first motion whose readings say where it begins."""
DELAY = "actuation_delay.delay"


class Replay:
    """One log, simulated again and again.

    Attributes:
        names: of the numbers that a simulation takes, as `BoundTerms.names`.
        nominal: their values in the robot's file.
        rows: which readings are compared, (T',) indices.
        measured: those readings, (T', C): positions, velocities and, where the log has them, efforts of all joints.
        sensors: name of each of the C columns' sensor.
    """

    def __init__(self, spec: RobotSpec, log: MotionLog, settings: Mapping[str, Any], threads: int = 1) -> None:
        """Prepares.

        Args:
            spec: the robot.
            log: of it.
            settings: terms of randomisation with single numbers, which say what may differ.
            threads: how many simulations run at once.
        """
        self.spec = held_spec(spec) if log.base == "held" else spec
        self.log = log
        randomization = Randomization(settings, self.spec, "identify")
        self.model = randomization.compile()
        self._terms = BoundTerms(randomization, self.model, self.spec)
        self.names = self._terms.names
        self.nominal = dict(zip(self.names, self._terms.draw(np.random.default_rng(0)).tolist(), strict=True))
        self.threads = threads
        self._free: SimpleQueue[_Copy] = SimpleQueue()
        for _ in range(threads):
            self._free.put(_Copy(self._terms, self.model, self.spec))
        self._lay_out_time()

    def _lay_out_time(self) -> None:
        log, dt = self.log, self.spec.simulation.physics_dt
        moved = np.flatnonzero((log.command != log.command[0]).any(axis=1))
        begin = log.sent[moved[0] - 1] if len(moved) else log.sent[0]  # s, the end of the rest
        before = round(_SETTLING[log.base] / dt)
        start = begin - before * dt
        steps = before + max(2, int(np.ceil((log.time[-1] - begin) / dt)) + 1)
        self._edges = start + dt * np.arange(steps + 1)  # s, of the physics' steps by the log's clock
        self.rows = np.flatnonzero(log.time >= begin + _BURN_IN)
        self.time = log.time[self.rows]
        columns = [log.position, log.velocity] + ([] if log.effort is None else [log.effort])
        self.measured = np.concatenate(columns, axis=1)[self.rows]
        names = ["joint_position", "joint_velocity", "joint_effort"][: len(columns)]
        self.sensors = tuple(name for name in names for _ in self.spec.joint_names)
        # A reading between two steps of the physics lies on the line between them.
        place = (self.time - start) / dt
        self._step = np.clip(place.astype(int), 1, steps - 1)
        self._share = np.clip(place - self._step, 0.0, 1.0)[:, None]
        # integral of the commands up to each of them, for the mean over any span of time
        spans = np.diff(log.sent)[:, None]
        self._integral = np.concatenate([np.zeros((1, self.spec.joints)), np.cumsum(spans * log.command[:-1], axis=0)])
        resting = (log.time >= begin - _AT_REST) & (log.time <= begin)
        first = resting if resting.any() else np.arange(len(log.time)) < 1
        self._start = np.clip(log.position[first].mean(0), self.spec.lower, self.spec.upper)

    def controls(self, delay: float) -> Array:
        """The mean of the commands in force over each step of the physics, (steps, n), for a delay in s."""
        log = self.log
        when = self._edges - delay
        newest = np.clip(np.searchsorted(log.sent, when, side="right") - 1, 0, None)
        total = self._integral[newest] + (when - log.sent[newest])[:, None] * log.command[newest]
        return np.diff(total, axis=0) / self.spec.simulation.physics_dt

    def motion(self, values: Mapping[str, float]) -> Array:
        """What the sensors would have read, (T', C), without noise; NaN where the simulation diverged.

        Args:
            values: numbers by name; the rest are nominal.
        """
        numbers = self.nominal | {name: value for name, value in values.items() if name in self.nominal}
        controls = self.controls(max(0.0, numbers.get(DELAY, 0.0)))
        one = self._free.get()
        try:
            path = one.run(np.array([numbers[name] for name in self.names]), self._start, controls)
        finally:
            self._free.put(one)
        path = path[:, : self.measured.shape[1]]
        return path[self._step] + self._share * (path[self._step + 1] - path[self._step])

    def motions(self, candidates: Sequence[Mapping[str, float]]) -> Iterable[Array]:
        """`motion` of many candidates, `threads` at once."""
        if self.threads == 1:
            return map(self.motion, candidates)
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(self.motion, candidates))

    def trees(self) -> tuple[int, ...]:
        """For each driven joint a number that it shares with the joints it can push: those of its leg while held."""
        model, found = self.model, []
        for name in self.spec.joint_names:
            body = int(model.jnt_bodyid[model.joint(name).id])
            while int(model.body_weldid[model.body_parentid[body]]) != 0:
                body = int(model.body_parentid[body])
            found.append(body)
        return tuple(found)


class _Copy:
    """A model, its data and what writes them; used by one thread at a time."""

    def __init__(self, terms: BoundTerms, model: mujoco.MjModel, spec: RobotSpec) -> None:
        self._model = copy.copy(model)
        self._data = mujoco.MjData(self._model)
        self._reader = MujocoReader(self._model, spec)
        self._varied = VariedCopy(terms, self._model, self._data, self._reader)
        self._dofs, self._feet = terms.parts.driven, terms.parts.feet
        self._floating = spec.base == "floating" and len(self._feet) > 0

    def run(self, values: Array, position: Array, controls: Array) -> Array:
        """Positions, velocities and efforts after each step, (steps + 1, 3 n); the first row is the start."""
        data, qpos, driven = self._data, self._reader.joint_qpos, self._dofs
        self._varied.apply(values)
        place_at_start(self._model, data, self._reader, Start(position), controls[0])
        if self._floating:
            self._stand()
        n = len(position)
        path = np.zeros((len(controls) + 1, 3 * n))
        path[0, :n] = position
        for step, control in enumerate(controls, 1):
            self._varied.drive(control)
            row = path[step]
            row[:n], row[n : 2 * n], row[2 * n :] = data.qpos[qpos], data.qvel[driven], data.actuator_force
        if data.time < (len(controls) - 0.5) * self._model.opt.timestep or not np.isfinite(path).all():
            path[:] = np.nan
        return path

    def _stand(self) -> None:
        """Turns and lowers the base until the feet are on the floor: the plane through them becomes level."""
        model, data, base = self._model, self._data, self._reader.base_qpos
        for _ in range(2):
            feet = data.geom_xpos[self._feet]
            normal = np.linalg.svd(feet - feet.mean(0))[2][2] if len(feet) > 2 else np.array([0.0, 0.0, 1.0])
            normal = normal * np.copysign(1.0, normal[2])
            # The rotation that takes the normal to the vertical: q = (1 + n . z, n x z), normalised.
            turn = np.array([1.0 + normal[2], normal[1], -normal[0], 0.0])
            orientation = np.zeros(4)
            mujoco.mju_mulQuat(orientation, turn / np.linalg.norm(turn), data.qpos[base + 3 : base + 7])
            data.qpos[base + 3 : base + 7] = orientation
            mujoco.mj_kinematics(model, data)
            lowest = (data.geom_xpos[self._feet, 2] - model.geom_size[self._feet, 0]).min()
            data.qpos[base + 2] -= lowest
            mujoco.mj_kinematics(model, data)
        mujoco.mj_forward(model, data)
