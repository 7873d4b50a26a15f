"""Many copies of one robot in MuJoCo, stepped on all cores."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.arrays import frozen
from robot_rl.errors import ConfigurationError
from robot_rl.robot import JointCommand, RobotState, Start
from robot_rl.spec import RobotSpec
from sim.mujoco_model import compile_model
from sim.mujoco_reader import MujocoReader
from sim.mujoco_robot import INTEGRATION_STATE, varies
from sim.placing import place_at_start
from sim.randomization import BoundTerms, Randomization
from sim.simulated_robot import check_commands, disturbable, diverged, sensor_noise
from sim.varied_copy import VariedCopy

Array = NDArray[np.floating]


class MujocoBatch:
    """A `BatchRobot`: one model, one MjData a copy, a thread a core. `mj_step` releases the GIL, so cores add up.

    Each copy computes exactly what a single `MujocoRobot` computes.
    """

    def __init__(
        self,
        spec: RobotSpec,
        count: int,
        threads: int | None = None,
        noise: bool = True,
        randomization: Randomization | None = None,
    ) -> None:
        """Makes the copies.

        Args:
            spec: the robot.
            count: number of copies.
            threads: number of threads; all cores by default.
            noise: whether sensors carry the spec's noise.
            randomization: what each copy draws anew at its resets; None for copies that are all the same.
        """
        if count < 1:
            raise ConfigurationError(f"a batch needs at least 1 robot, got {count}")
        self.spec, self.count = spec, count
        self.model = randomization.compile() if randomization else compile_model(spec)
        varied = varies(spec, randomization)
        # Copies that differ have a model each; the rest of the time one serves all.
        self.models = [copy.copy(self.model) if varied else self.model for _ in range(count)]
        self.datas = [mujoco.MjData(model) for model in self.models]
        self.reader = MujocoReader(self.model, spec, disturbable(spec) if varied else ())
        self.provides = self.reader.provides
        self._terms = BoundTerms(randomization, self.model, spec) if varied else None
        self._varied: list[VariedCopy] = []
        if self._terms is not None:
            pairs = zip(self.models, self.datas, strict=True)
            self._varied = [VariedCopy(self._terms, model, data, self.reader) for model, data in pairs]
        self._noise = sensor_noise(self.reader, noise, varied, count)
        self._applied = np.tile(spec.home, (count, 1))
        threads = min(threads or os.cpu_count() or 1, count)
        shares = np.array_split(np.arange(count), threads)
        self._shares = [[int(i) for i in share] for share in shares]
        self._threads = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._shortest_tick = spec.control_dt - 0.5 * spec.simulation.physics_dt
        self._time = np.zeros(count)
        self._well = np.ones(count, dtype=bool)
        self._raw = np.zeros((count, self.reader.raw_size))
        # Views of MuJoCo's own memory: to ask for an attribute costs more than to read it.
        self._ctrls = [data.ctrl for data in self.datas]
        self._arrays = [(data.qpos, data.qvel, data.actuator_force, data.sensordata) for data in self.datas]

    def reset(self, rows: NDArray[np.intp], starts: Sequence[Start], rng: np.random.Generator) -> RobotState:
        """Brings some copies to their starts and reads these."""
        for row, start in zip(rows, starts, strict=True):
            if self._varied:
                self._varied[row].reset(start, rng)
            else:
                place_at_start(self.model, self.datas[row], self.reader, start)
            self._applied[row] = start.joint_position
            self._gather([int(row)], first=True)
        noise = None
        if self._noise is not None:
            self._noise.begin(rng)
            noise = self._noise.of_first(len(rows))
        return self._read(rows, noise)

    def step(self, command: JointCommand) -> RobotState:
        """Holds the commands for one control tick in every copy.

        Args:
            command: (count, n), rad or m.

        Raises:
            InvalidInput: the commands have another shape or are not finite.
            RobotFault: the simulation of a copy diverged.
        """
        target = command.position
        check_commands(self.spec, target, self.count)
        self._applied = np.array(target, dtype=np.float64)
        before = self._time.copy()
        # This thread works too: one that only waited would have to be woken at every tick.
        others = [] if self._threads is None else [self._threads.submit(self._advance, s) for s in self._shares[1:]]
        self._advance(self._shares[0])
        for other in others:
            other.result()
        stuck = ~self._well if self._varied else self._time - before < self._shortest_tick
        if stuck.any():
            raise diverged(self.spec, float(before[stuck][0]))
        return self._read(slice(None), None if self._noise is None else self._noise.of_next())

    @property
    def drawn(self) -> Mapping[str, Array]:
        """What was drawn at the last reset of each copy; see `robot_rl.robot.Randomized`."""
        if self._terms is None:
            return {}
        return dict(zip(self._terms.names, np.array([one.values for one in self._varied]).T, strict=True))

    def truth(self) -> RobotState:
        """Everything as it is now, in every copy: without noise, offset or delay."""
        raw = np.stack([np.concatenate(arrays) for arrays in self._arrays])
        stamp = np.array([data.time for data in self.datas])
        return self.reader.read(frozen(stamp), raw, None, frozen(self._applied.copy()))

    def close(self) -> None:
        """Ends the threads."""
        if self._threads is not None:
            self._threads.shutdown()

    def snapshot(self) -> dict[str, Any]:
        """MuJoCo's integration states, derived readings and the commands in force."""
        states = np.empty((self.count, mujoco.mj_stateSize(self.model, INTEGRATION_STATE)))
        for state, data in zip(states, self.datas, strict=True):
            mujoco.mj_getState(self.model, data, state, INTEGRATION_STATE)
        return {
            "state": states,
            "applied": self._applied.copy(),
            "sensordata": np.stack([data.sensordata for data in self.datas]),
            "actuator_force": np.stack([data.actuator_force for data in self.datas]),
            "noise": np.zeros(0) if self._noise is None else self._noise.snapshot(),
            **({"varied": [one.snapshot() for one in self._varied]} if self._varied else {}),
            **({"time": self._time.copy(), "raw": self._raw.copy()} if self._varied else {}),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back, bit for bit."""
        for one, of_copy in zip(self._varied, snapshot.get("varied", ()), strict=True):
            one.restore(of_copy)
        for i, data in enumerate(self.datas):
            mujoco.mj_setState(self.models[i], data, np.array(snapshot["state"][i]), INTEGRATION_STATE)
            data.sensordata[:] = snapshot["sensordata"][i]
            data.actuator_force[:] = snapshot["actuator_force"][i]
        self._applied = np.array(snapshot["applied"])
        if self._noise is not None:
            self._noise.restore(snapshot["noise"])
        if self._varied:
            self._time[:], self._raw[:] = snapshot["time"], snapshot["raw"]
        else:
            self._gather(range(self.count))

    def use_rng(self, rng: np.random.Generator) -> None:
        """Draws sensor noise from `rng` from now on; for restoring a snapshot together with its generator."""
        if self._noise is not None:
            self._noise.use(rng)

    def _advance(self, rows: list[int]) -> None:
        model, substeps = self.model, self.spec.substeps
        for i in rows:
            if self._varied:
                self._well[i] = self._varied[i].advance(self._applied[i])
            else:
                self._ctrls[i][:] = self._applied[i]
                mujoco.mj_step(model, self.datas[i], substeps)
        self._gather(rows)

    def _gather(self, rows: Sequence[int], first: bool = False) -> None:
        for i in rows:
            if self._varied:
                self._time[i], self._raw[i] = self._varied[i].reading(first)
            else:
                self._time[i] = self.datas[i].time
                np.concatenate(self._arrays[i], out=self._raw[i])

    def _read(self, rows: Any, noise: Array | None) -> RobotState:
        stamp, applied = frozen(self._time[rows].copy()), frozen(self._applied[rows].copy())
        raw = self._raw[rows]
        if self._varied:
            noise = self._disturbed(rows, noise, raw)
        return self.reader.read(stamp, raw, noise, applied)

    def _disturbed(self, rows: Any, noise: Array | None, raw: Array) -> Array | None:
        copies = self._varied[rows] if isinstance(rows, slice) else [self._varied[row] for row in rows]
        each = [one.disturbance.of(None if noise is None else noise[i], raw[i]) for i, one in enumerate(copies)]
        nothing = np.zeros(self.reader.noise_std.size)
        return None if all(one is None for one in each) else np.stack([nothing if e is None else e for e in each])
