"""Runs a composed policy file with numpy and ONNX Runtime alone; weights and temperature may change at every tick.

policy = ComposedPolicy.load("go2-diagonal.onnx", robot=load_robot("go2"))
runner = ComposedRunner(policy, rate=0.5)
runner.reset(goal)
runner.weights = [0.8, 0.2]
while True:
state = robot.step(runner.step(state))
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.contract import CompositionPart, Contract, read_policy
from policies.runtime import OnnxPolicy, PolicyFile, PolicyOutput, PolicyRunner, check_rows, new_session
from policies.seeing_runtime import SeeingPolicy, SeeingRunner
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.errors import ConfigurationError, InvalidInput, PolicyError
from robot_rl.observation import ObservationLayout
from robot_rl.robot import JointCommand, RobotState
from robot_rl.spec import RobotSpec

Array = NDArray[np.floating]

GOLDEN_TOLERANCE = 1e-4
"""Largest difference between a golden action or command and ours."""
GOLDEN_SHARE = 1e-3
"""Largest relative difference of value, sample size and disagreement; weights are exponentials of what is rounded."""
WEIGHT_RATE = 0.5
"""1/s, by which a weight changes at most unless told otherwise: from one skill to another in two seconds."""


def checked_temperature(temperature: float) -> float:
    """A temperature, if it is one.

    Raises:
        InvalidInput: it is no number, or not finite and above zero.
    """
    number = isinstance(temperature, (int, float, np.number))
    if not (number and math.isfinite(temperature) and temperature > 0.0):
        raise InvalidInput(
            f"temperature must be finite and above 0, got {temperature}; for the best action take the deterministic one"
        )
    return float(temperature)


class ComposedOutput(NamedTuple):
    """What a composed policy answers, and how sure it may be of it."""

    action: Array
    """(..., d), in [-1, 1], float32."""
    command: Array
    """(..., n), joint positions in rad or m, inside the joint limits, float32."""
    value: Array
    """(...), Q_w of the action, reward units."""
    effective_sample_size: Array
    """(...), of the draws; near one the sampled action is nearly always the same draw."""
    disagreement: Array
    """(...), of the skills under these weights, nats; zero where they agree."""


class ComposedPolicy(PolicyFile):
    """A composed policy file, checked and ready. One object serves one thread.

    Attributes:
        contract: what the file says of itself.
        composition: the part of it that a plain policy does not have.
    """

    def __init__(self, model: bytes, contract: Contract) -> None:
        """Use `load` or `from_bytes`, which check hashes and what the policy is for.

        Raises:
            PolicyError: the model does not compute what its contract says, or it is a plain policy.
        """
        if contract.composition is None:
            raise PolicyError("is a plain policy of one network, not a composed one; it has no weights to turn")
        self.contract = contract
        self.composition: CompositionPart = contract.composition
        self._labels = contract.observation.labels
        self._noise_shape = (self.composition.draws, len(contract.action.coordinates) + 1)
        self._session = new_session(model)
        self._check_graph()
        self._weights = np.zeros(len(self.composition.skills), dtype=np.float32)
        self._temperature = np.zeros(1, dtype=np.float32)
        self._given: Array = np.zeros(len(self._weights))
        self.weights = np.array(self.composition.weights)
        self.temperature = self.composition.temperature
        self._buffers = self._bound()
        self._check_golden()

    @property
    def skills(self) -> tuple[str, ...]:
        """Names, in the order of the weights."""
        return tuple(skill.name for skill in self.composition.skills)

    @property
    def weights(self) -> Array:
        """(N,), in use from the next call on; setting them raises InvalidInput unless they are >= 0 and sum to one."""
        return self._given.copy()

    @weights.setter
    def weights(self, weights: ArrayLike) -> None:
        self.use(skill_weights(weights, len(self.skills)))

    def use(self, weights: Array) -> None:
        """Sets weights that are known to be right, (N,), without looking at them."""
        self._given = weights
        self._weights[:] = weights

    @property
    def temperature(self) -> float:
        """Reward units per nat, in use from the next call on; setting raises InvalidInput unless finite and above 0."""
        return float(self._temperature[0])

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self._temperature[0] = checked_temperature(temperature)

    def act(self, observation: Array, noise: Array | None = None) -> PolicyOutput:
        """Action and command alone, as `OnnxPolicy.act` gives them; see `answer`."""
        answer = self.answer(observation, noise)
        return PolicyOutput(answer.action, answer.command)

    def answer(self, observation: Array, noise: Array | None = None) -> ComposedOutput:
        """The policy's answer to raw observations.

        Args:
            observation: (size,) or (N, size), SI, as `contract.observation` lays them out.
            noise: standard normal, (K, d + 1) or (N, K, d + 1), for a sampled action; None for the deterministic one.

        Raises:
            InvalidInput: a wrong shape, or a number that is not finite in float32; names it.
        """
        rows = check_rows(observation, "observation", self._labels)
        if noise is None and rows.ndim == 1:
            vector, outputs, binding = self._buffers
            vector[:] = rows
            self._session.run_with_iobinding(binding)
            action, command, value, size, apart = outputs
            return ComposedOutput(action[0].copy(), command[0].copy(), value[0], size[0], apart[0])
        feed = {"observation": np.atleast_2d(rows), "weights": self._weights, "temperature": self._temperature}
        sampled = "" if noise is None else "sampled_"
        if noise is not None:
            feed["noise"] = self._checked_noise(noise, rows)
        names = [f"{sampled}action", f"{sampled}command", f"{sampled}value", "effective_sample_size", "disagreement"]
        found = self._session.run(names, feed)
        return ComposedOutput(*(found if rows.ndim == 2 else (part[0] for part in found)))

    def _checked_noise(self, noise: Array, rows: Array) -> NDArray[np.float32]:
        expected = (*rows.shape[:-1], *self._noise_shape)
        draws = np.asarray(noise, dtype=np.float32)
        if draws.shape != expected or not np.isfinite(draws).all():
            raise InvalidInput(f"noise: expected finite numbers of shape {expected}, got shape {draws.shape}")
        return draws.reshape(-1, *self._noise_shape)

    def _bound(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]], object]:
        """Buffers that are bound once, so that a call of one row makes no tensors."""
        joints, actions = len(self.contract.robot.joints), len(self.contract.action.coordinates)
        vector = np.zeros((1, len(self._labels)), dtype=np.float32)
        shapes = {
            "action": (1, actions), "command": (1, joints),
            "value": (1,), "effective_sample_size": (1,), "disagreement": (1,),
        }  # fmt: skip
        inputs = {"observation": vector, "weights": self._weights, "temperature": self._temperature}
        outputs = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        binding = self._session.io_binding()
        for name, buffer in inputs.items():
            binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        for name, buffer in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        return vector[0], list(outputs.values()), binding

    def _check_graph(self) -> None:
        joints, (draws, width) = len(self.contract.robot.joints), self._noise_shape
        expected = {
            "observation": len(self._labels), "weights": len(self.composition.skills), "temperature": 1,
            "noise": (draws, width), "action": width - 1, "command": joints, "sampled_action": width - 1,
            "sampled_command": joints, "value": None, "sampled_value": None, "effective_sample_size": None,
            "disagreement": None,
        }  # fmt: skip
        session = self._session
        found = {}
        for item in (*session.get_inputs(), *session.get_overridable_initializers(), *session.get_outputs()):
            shape = item.shape
            found[item.name] = tuple(shape[-2:]) if len(shape) == 3 else None if shape == ["batch"] else shape[-1]
        if found != expected:
            raise PolicyError(f"the graph does not match its contract: it has {found}, expected {expected}")

    def _check_golden(self) -> None:
        golden, more = self.contract.golden, self.composition.golden
        weights, temperature = self.weights, self.temperature
        for row, observation in enumerate(golden.observation):
            self.weights, self.temperature = np.array(more.weights[row]), more.temperature[row]
            noise = np.reshape(golden.noise[row], self._noise_shape)
            single, sampled = self.answer(np.array(observation)), self.answer(np.array(observation), noise)
            pairs = {
                "action": (single.action, golden.action[row]),
                "command": (single.command, golden.command[row]),
                "sampled_action": (sampled.action, golden.sampled_action[row]),
                "sampled_command": (sampled.command, golden.sampled_command[row]),
            }
            figures = {
                "value": (single.value, more.value[row]),
                "sampled_value": (sampled.value, more.sampled_value[row]),
                "effective_sample_size": (sampled.effective_sample_size, more.effective_sample_size[row]),
                "disagreement": (sampled.disagreement, more.disagreement[row]),
            }
            for name, (ours, theirs) in (pairs | figures).items():
                wanted = np.asarray(theirs)
                slack = GOLDEN_TOLERANCE if name in pairs else GOLDEN_SHARE * max(1.0, float(np.abs(wanted).max()))
                error = float(np.abs(ours - wanted).max())
                if not error <= slack:
                    raise PolicyError(
                        f"does not reproduce its golden vectors: {name} of row {row} is off by {error:.3g}, allowed "
                        f"{slack:.3g}; the weights are not those that were exported"
                    )
        self.use(weights)
        self.temperature = temperature


class WeightRamp:
    """Weights that follow what is asked for at a limited rate, on a straight line, so that they sum to one all along.

    Attributes:
        target: (N,), where they go.
        current: (N,), where they are.
    """

    def __init__(self, weights: Array, rate: float) -> None:
        """Begins at rest.

        Args:
            weights: (N,).
            rate: greatest change of any weight, 1/s; infinity for no limit.

        Raises:
            ConfigurationError: the rate is not above zero.
        """
        if not rate > 0.0:
            raise ConfigurationError(f"the rate of the weights must be above 0 per second, got {rate}")
        self.rate = rate
        self.current = self.target = np.array(weights, dtype=np.float64)

    def ask(self, weights: ArrayLike) -> None:
        """Sets the target; raises InvalidInput unless the weights are N numbers >= 0 that sum to one."""
        self.target = skill_weights(weights, len(self.current))

    def advance(self, seconds: float) -> Array:
        """Goes on for some time and returns the weights, (N,)."""
        target = self.target  # once: another thread may ask for more in the meantime
        way = target - self.current
        longest, allowed = float(np.abs(way).max()), self.rate * seconds
        self.current = target if longest <= allowed else self.current + way * (allowed / longest)
        return self.current


class ComposedRunner(PolicyRunner):
    """Drives one robot with a composed policy whose weights may be turned while it runs.

    Attributes:
        policy: what it runs.
        answer: what the policy said last; None before the first step.
    """

    policy: ComposedPolicy

    def __init__(self, policy: ComposedPolicy, rate: float = WEIGHT_RATE) -> None:
        """Makes a runner at rest.

        Args:
            policy: to run.
            rate: greatest change of any weight, 1/s.

        Raises:
            PolicyError: the policy is a plain one.
            ConfigurationError: the rate is not above zero.
        """
        if not isinstance(policy, ComposedPolicy):
            raise PolicyError("a plain policy has no weights to turn; run it with PolicyRunner, or take new_runner")
        super().__init__(policy)
        self._ramp = WeightRamp(policy.weights, rate)
        self._dt = 1.0 / policy.contract.robot.control_rate
        self.answer: ComposedOutput | None = None

    @property
    def weights(self) -> Array:
        """(N,), in use; set what is asked for, which they follow at the limited rate. InvalidInput as for a policy."""
        return self._ramp.current.copy()

    @weights.setter
    def weights(self, weights: ArrayLike) -> None:
        self._ramp.ask(weights)

    @property
    def temperature(self) -> float:
        """Reward units per nat; acts from the next step on."""
        return self.policy.temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        self.policy.temperature = temperature

    @property
    def target(self) -> Array:
        """(N,), where the weights go."""
        return self._ramp.target.copy()

    @property
    def rate(self) -> float:
        """Greatest change of any weight, 1/s."""
        return self._ramp.rate

    def arrive(self) -> None:
        """Brings the weights to where they go at once; for a robot that does not move yet."""
        self._ramp.current = self._ramp.target

    def take_knobs(self, other: ComposedRunner) -> None:
        """Puts weights and temperature where another runner of the same skills has them."""
        self._ramp.current, self._ramp.target = other._ramp.current, other._ramp.target
        self.temperature = other.temperature

    def step(self, state: RobotState) -> JointCommand:
        """See `PolicyRunner.step`."""
        # On a straight line between two sets of allowed weights: nothing to check at every tick.
        self.policy.use(self._ramp.advance(self._dt))
        return super().step(state)

    def _decide(self, observation: Array) -> PolicyOutput:
        self.answer = self.policy.answer(observation)
        return PolicyOutput(self.answer.action, self.answer.command)


AnyPolicy = OnnxPolicy | ComposedPolicy | SeeingPolicy


def kind_of(contract: Contract) -> type[AnyPolicy]:
    """What loads a policy of this contract."""
    if contract.camera is not None:
        return SeeingPolicy
    return OnnxPolicy if contract.composition is None else ComposedPolicy


def load_policy(path: str | Path, robot: RobotSpec | None = None, layout: ObservationLayout | None = None) -> AnyPolicy:
    """Loads a policy file of any kind; see `OnnxPolicy.load`."""
    model, contract = read_policy(path)
    try:
        return kind_of(contract).fitting(model, contract, robot, layout)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def new_runner(policy: AnyPolicy, rate: float = WEIGHT_RATE) -> PolicyRunner:
    """The runner of a policy of any kind; `rate` is for a composed one."""
    if isinstance(policy, SeeingPolicy):
        return SeeingRunner(policy)
    return ComposedRunner(policy, rate) if isinstance(policy, ComposedPolicy) else PolicyRunner(policy)
