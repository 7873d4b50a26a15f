"""One copy of a robot that has a model, motors, sensors and delays of its own, as they were drawn at its reset.

A robot without randomisation and with ideal motors never comes here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.robot import Start
from robot_rl.timing import TimingTrace
from sim.channels import CommandChannel, Latency, ReadingChannel
from sim.distributions import Distribution
from sim.disturbance import Disturbance
from sim.motors import DCMotors, NetworkMotors
from sim.mujoco_reader import MujocoReader
from sim.other_terms import Push
from sim.placing import place_at_start
from sim.terrain import Ground

if TYPE_CHECKING:
    from sim.randomization import BoundTerms

Array = NDArray[np.floating]

_EXACT = Latency()


class VariedCopy:
    """Steps one copy. Terms write its public attributes; everything is nominal before they do.

    Attributes:
        fields: arrays of its model by name, as terms name them.
        values: what was drawn at the last reset, (V,), as `BoundTerms.names` names it.
    """

    def __init__(self, terms: BoundTerms, model: mujoco.MjModel, data: mujoco.MjData, reader: MujocoReader) -> None:
        """Args: terms: bound to the model; model: not shared with any other copy; data, reader: of the copy."""
        self.spec = reader.spec
        self._terms, self._model, self._data, self._reader = terms, model, data, reader
        self.fields: dict[str, Array] = {name: _field(model, name) for name in terms.fields}
        self._nominal = [(self.fields[name], self.fields[name].copy()) for name in terms.restored]
        self.values: Array = np.zeros(len(terms.names))
        self.motors = DCMotors(self.spec) if terms.motors else None
        self.disturbance = Disturbance(reader)
        self._commands, self._readings = CommandChannel(), ReadingChannel()
        self._rng = np.random.default_rng(0)
        self._arrays = (data.qpos, data.qvel, data.actuator_force, data.sensordata)
        self._ctrl, self._velocity, self._outer = data.ctrl, data.qvel, data.xfrc_applied
        self._driven = terms.parts.driven
        self._least, self._greatest = model.actuator_forcerange.T
        self._nominal_state()
        self._ticks = 0
        self._due = 0.0
        self._next_push, self._push_ends = np.inf, np.inf

    def _nominal_state(self) -> None:
        for array, nominal in self._nominal:
            array[...] = nominal
        if self.motors is not None:
            self.motors.reset()
        self.disturbance.reset()
        self.seed = 0
        self.encoder_offset: Array | None = None
        self.actuation: Latency = _EXACT
        self.observation: Latency = _EXACT
        self.lateness: Distribution | None = None
        self.trace: TimingTrace | None = None
        self.trace_start = 0
        self.network: NetworkMotors | None = None
        self.push: Push | None = None
        self.pushed = 0
        self.ground: Ground | None = None

    # -- an episode ---------------------------------------------------------------------------------------------------

    def reset(self, start: Start, rng: np.random.Generator) -> None:
        """Draws, and brings the copy to its start."""
        values = self._terms.draw(rng)
        self.apply(values)
        reader, data = self._reader, self._data
        held = start.joint_position if self.encoder_offset is None else start.joint_position - self.encoder_offset
        place_at_start(self._model, data, reader, start, held)
        if self.ground is not None:
            self._stand_on(self.ground)
        self._rng = np.random.default_rng(self.seed)
        self._commands.begin(held)
        self._readings.begin(0.0, np.concatenate(self._arrays))
        self._ticks, self._due = 0, 0.0
        self._next_push = np.inf if self.push is None else self.push.interval.one(self._rng)
        self._push_ends = np.inf

    def apply(self, values: Array) -> None:
        """Makes the copy what some values say, (V,), in the order of `BoundTerms.names`."""
        self._nominal_state()
        self.values = values
        for term, where in self._terms.items:
            term.apply(self, values[where])
        if self.motors is not None:
            self.motors.settle()
        if self._terms.inertial:
            mujoco.mj_setConst(self._model, self._data)

    def _stand_on(self, ground: Ground) -> None:
        """Lifts the base until no foot is in the ground."""
        data, base = self._data, self._reader.base_qpos
        places = [data.xpos[self._terms.parts.base], *(data.geom_xpos[foot] for foot in self._terms.parts.feet)]
        data.qpos[base + 2] += max(0.0, *(ground.height(float(x), float(y)) for x, y, _ in places))
        mujoco.mj_forward(self._model, data)

    def advance(self, command: Array) -> bool:
        """Runs one control tick.

        Args:
            command: (n,), rad or m.

        Returns:
            Whether all went well; False where the simulation diverged.
        """
        data, model, dt = self._data, self._model, self.spec.simulation.physics_dt
        begin = data.time
        steps = self._steps_until_next(begin)
        held = command if self.encoder_offset is None else command - self.encoder_offset
        self._send(held, begin)
        if self._terms.by_steps:
            time, commands, motors, push = begin, self._commands, self.motors, self.push
            late = self._terms.late_readings
            for _ in range(steps):
                held = commands.over(time, time + dt)
                self._ctrl[:] = held if self.network is None else self._learnt(self.network, held)
                if motors is not None:
                    self._limit_motors(motors)
                if push is not None:
                    self._push(push, time)
                mujoco.mj_step(model, data)
                time = data.time
                if late:
                    self._readings.add(time, np.concatenate(self._arrays))
        else:
            self._ctrl[:] = held
            mujoco.mj_step(model, data, steps)
        self._ticks += 1
        return bool(data.time - begin > (steps - 0.5) * dt)

    def _steps_until_next(self, now: float) -> int:
        if self.trace is not None:
            self._due += float(self._traced(self.trace.period))
            wanted = self._due
        elif self.lateness is not None:
            wanted = (self._ticks + 1) * self.spec.control_dt + self.lateness.one(self._rng)
        else:
            return self.spec.substeps
        return max(1, round((wanted - now) / self.spec.simulation.physics_dt))

    def _traced(self, column: Array) -> float:
        return column[(self.trace_start + self._ticks) % len(column)]

    def _send(self, command: Array, now: float) -> None:
        late = self.actuation.next(self._rng)
        if late is not None:
            work = 0.0 if self.trace is None else float(self._traced(self.trace.compute))
            self._commands.send(command, now + work + late)

    def _limit_motors(self, motors: DCMotors) -> None:
        motors.limits(self._velocity[self._driven], self._least, self._greatest)

    def _learnt(self, network: NetworkMotors, held: Array) -> Array:
        error = held - self._data.qpos[self._reader.joint_qpos]
        return network.torque(error, self._velocity[self._driven])

    def _push(self, push: Push, now: float) -> None:
        if now >= self._push_ends:
            self._outer[self.pushed] = 0.0
            self._push_ends = np.inf
        if now >= self._next_push:
            speed, heading = push.speed.one(self._rng), self._rng.uniform(-np.pi, np.pi)
            mass = float(self._model.body_mass[self._terms.parts.bodies].sum())
            # Whole steps; impulse = mass * change of velocity, however long a step is.
            lasts = math.ceil(push.duration / self._model.opt.timestep - 1e-6) * self._model.opt.timestep
            strength = mass * speed / lasts
            self._outer[self.pushed, :2] = strength * np.cos(heading), strength * np.sin(heading)
            self._push_ends = now + lasts - 1e-9
            self._next_push = now + lasts + push.interval.one(self._rng)

    def drive(self, control: Array) -> None:
        """Runs one step of the physics whatever is on its way; the motors' own limits hold.

        Args:
            control: (n,), rad or m, what the joint controllers follow.
        """
        self._ctrl[:] = control
        if self.motors is not None:
            self._limit_motors(self.motors)
        mujoco.mj_step(self._model, self._data)

    # -- readings -----------------------------------------------------------------------------------------------------

    def reading(self, first: bool = False) -> tuple[float, Array]:
        """What the policy gets now: when it was measured, s, and the arrays as `MujocoReader.read` takes them.

        Args:
            first: whether this is the reading after a reset.
        """
        data, reader = self._data, self._reader
        stamp, raw = float(data.time), None
        if self._terms.late_readings:
            age = 0.0 if first else self._age()
            # A reading that was lost leaves the one before in place.
            stamp, raw = self._readings.at(stamp - age if age is not None else -1.0)
        raw = np.concatenate(self._arrays) if raw is None else raw.copy()
        if self.spec.base == "floating":
            base = reader.base_qpos
            if self._terms.late_readings:
                raw[base + 3 : base + 7] /= np.linalg.norm(raw[base + 3 : base + 7])
            if self.ground is not None:
                raw[base + 2] -= self.ground.height(raw[base], raw[base + 1])
        if self.encoder_offset is not None:
            raw[reader.joint_qpos] += self.encoder_offset
        return stamp, raw

    def _age(self) -> float | None:
        late = self.observation.next(self._rng)
        if late is None or self.trace is None:
            return late
        return late + float(self.trace.state_age[(self.trace_start + self._ticks - 1) % len(self.trace.state_age)])

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What was drawn and what is on its way; the physics' own state is not in it."""
        return {
            "values": self.values.copy(),
            "commands": self._commands.snapshot(),
            "network": {} if self.network is None else self.network.snapshot(),
            "readings": self._readings.snapshot(),
            "events": self._rng.bit_generator.state,
            "clock": np.array([self._ticks, self._due, self._next_push, self._push_ends]),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot back; comes before the state of the physics."""
        self.apply(np.array(snapshot["values"]))
        self._commands.restore(snapshot["commands"])
        if self.network is not None:
            self.network.restore(snapshot["network"])
        self._readings.restore(snapshot["readings"])
        self._rng = np.random.default_rng(0)
        self._rng.bit_generator.state = snapshot["events"]
        ticks, self._due, self._next_push, self._push_ends = np.asarray(snapshot["clock"]).tolist()
        self._ticks = int(ticks)


def _field(model: mujoco.MjModel, name: str) -> Array:
    """An array of the model's own memory; `opt.gravity` is the one that is not the model's attribute."""
    return model.opt.gravity if name == "opt.gravity" else getattr(model, name)
