"""Runs a policy file with numpy and ONNX Runtime alone: no torch, no simulator, no onnx package.

    policy = OnnxPolicy.load("go2-walk.onnx", robot=load_robot("go2"))
    runner = PolicyRunner(policy)
    runner.reset(goal)
    while True:
        state = robot.step(runner.step(state))

ONNX Runtime itself is imported at the first load, so that listing or describing policies stays quick.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from policies.contract import Contract, read_policy, unseal
from policies.matching import check_layout, check_robot
from policies.onnx_bytes import only_outputs
from robot_rl.errors import InvalidInput, PolicyError
from robot_rl.observation import ObservationLayout, Observer
from robot_rl.robot import JointCommand, RobotState
from robot_rl.spec import RobotSpec
from robot_rl.stepping import CLOCK, Stepping, Strides

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Array = NDArray[np.floating]

_FLOAT32 = np.dtype(np.float32)

GOLDEN_TOLERANCE = 1e-5
"""Largest difference between a golden output and ours; processors round differently, and no more than this."""


class PolicyOutput(NamedTuple):
    """What a policy answers."""

    action: Array
    """(..., d), in [-1, 1], float32."""
    command: Array
    """(..., n), joint positions in rad or m, inside the joint limits, float32."""


class Policy(Protocol):
    """What a runner needs of a policy of any kind."""

    contract: Contract

    def act(self, observation: Any, noise: Array | None = None) -> PolicyOutput:
        """See `OnnxPolicy.act`."""
        ...


Kind = TypeVar("Kind", bound="PolicyFile")


class PolicyFile(ABC):
    """A policy of either kind: how its file is read, and refused."""

    @abstractmethod
    def __init__(self, model: bytes, contract: Contract) -> None:
        """Use `load` or `from_bytes`, which check hashes and what the policy is for."""

    @classmethod
    def load(
        cls: type[Kind], path: str | Path, robot: RobotSpec | None = None, layout: ObservationLayout | None = None
    ) -> Kind:
        """Reads a policy file and refuses it unless all that it says is true and fits.

        Args:
            path: of the file.
            robot: what will run it; joints, limits, gains, home, rate and action map must be those of the contract.
            layout: of the observations it will be given.

        Raises:
            ConfigurationError: there is no such file.
            PolicyError: it is damaged, does not reproduce its golden vectors, or does not fit; says what differs.
        """
        model, contract = read_policy(path)
        try:
            return cls.fitting(model, contract, robot, layout)
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from error

    @classmethod
    def from_bytes(
        cls: type[Kind], content: bytes, robot: RobotSpec | None = None, layout: ObservationLayout | None = None
    ) -> Kind:
        """The same for the content of a file."""
        return cls.fitting(*unseal(content), robot, layout)

    @classmethod
    def fitting(
        cls: type[Kind], model: bytes, contract: Contract, robot: RobotSpec | None, layout: ObservationLayout | None
    ) -> Kind:
        """The same for what `read_policy` gave."""
        if robot is not None:
            check_robot(contract, robot)
        if layout is not None:
            check_layout(contract.observation, layout)
        try:
            return cls(model, contract)
        except InvalidInput as error:  # what it was given is the contract's own: weights, golden vectors
            raise PolicyError(f"the contract is malformed: {error}") from error


class OnnxPolicy(PolicyFile):
    """A policy file, checked and ready. One object serves one thread: it computes in buffers of its own.

    Attributes:
        contract: what the file says of itself.
    """

    def __init__(self, model: bytes, contract: Contract) -> None:
        """Use `load` or `from_bytes`, which check hashes and what the policy is for.

        Args:
            model: the ONNX model without its metadata.
            contract: about it.

        Raises:
            PolicyError: the model does not compute what its contract says.
        """
        if contract.camera is not None:
            raise PolicyError(
                "looks at a camera, whose picture is an input of its own; load it with "
                "policies.seeing_runtime.SeeingPolicy, or with load_policy"
            )
        if contract.composition is not None:
            names = ", ".join(skill.name for skill in contract.composition.skills)
            raise PolicyError(
                f"is a composed policy of the skills {names}, whose weights are inputs; load it with "
                "policies.composed_runtime.ComposedPolicy, or with load_policy there"
            )
        self.contract = contract
        self._labels = contract.observation.labels
        size, actions, joints = len(self._labels), len(contract.action.coordinates), len(contract.robot.joints)
        self._shape = (size,)
        self._width = actions
        # Two sessions, because ONNX Runtime would compute the sampled outputs too if they were in the graph.
        self._sampling = new_session(model)
        self._session = new_session(only_outputs(model, ("action", "command")))
        check_graph(self._sampling, contract)
        self._vector = np.zeros(size, dtype=np.float32)
        self._finite = np.ones(size, dtype=bool)
        self._action = np.zeros(actions, dtype=np.float32)
        self._command = np.zeros(joints, dtype=np.float32)
        # Bound once: a call then neither makes nor looks up any tensor, which is a quarter of its time.
        self._binding = self._session.io_binding()
        self._binding.bind_input("observation", "cpu", 0, np.float32, (1, size), self._vector.ctypes.data)
        for name, buffer in (("action", self._action), ("command", self._command)):
            self._binding.bind_output(name, "cpu", 0, np.float32, (1, buffer.size), buffer.ctypes.data)
        self._check_golden()

    def act(self, observation: Array, noise: Array | None = None) -> PolicyOutput:
        """The policy's answer to raw observations.

        Args:
            observation: (size,) or (N, size), SI, as `contract.observation` lays them out; float32 is quickest.
            noise: standard normal, (d,) or (N, d), for a sampled action; None for the deterministic one.

        Raises:
            InvalidInput: a wrong shape, or a number that is not finite in float32; names it.
        """
        if (
            noise is None
            and observation.__class__ is np.ndarray
            and observation.shape == self._shape
            and observation.dtype is _FLOAT32
        ):
            self._vector[:] = observation
            # The least of booleans is the first False, if there is one; half the cost of .all().
            if self._finite[np.isfinite(self._vector, self._finite).argmin()]:
                self._session.run_with_iobinding(self._binding)
                return PolicyOutput(self._action.copy(), self._command.copy())
        return self._act_on_any(observation, noise)

    def _act_on_any(self, observation: Array, noise: Array | None) -> PolicyOutput:
        rows = check_rows(observation, "observation", self._labels)
        feed = {"observation": np.atleast_2d(rows)}
        if noise is None:
            action, command = self._session.run(["action", "command"], feed)
        else:
            names = [f"noise[{name}]" for name in self.contract.action.coordinates]
            draws = check_rows(noise, "noise", names)
            if draws.shape[:-1] != rows.shape[:-1]:
                raise InvalidInput(f"noise: expected shape {(*rows.shape[:-1], self._width)}, got {draws.shape}")
            feed["noise"] = np.atleast_2d(draws)
            action, command = self._sampling.run(["sampled_action", "sampled_command"], feed)
        return PolicyOutput(action, command) if rows.ndim == 2 else PolicyOutput(action[0], command[0])

    def _check_golden(self) -> None:
        golden = self.contract.golden
        observation = np.array(golden.observation, dtype=np.float32)
        noise = np.array(golden.noise, dtype=np.float32)
        check_golden(self.contract, [self.act(row) for row in observation], self.act(observation, noise))


def check_golden(contract: Contract, single: Sequence[PolicyOutput], sampled: PolicyOutput) -> None:
    """Compares a policy's answers to its golden inputs with what the learner answered.

    Args:
        contract: of the policy.
        single: deterministic answers, one a row.
        sampled: answers with the golden noise, all rows.

    Raises:
        PolicyError: they differ, or the action map of the contract is not that of the graph.
    """
    golden = contract.golden
    answers = {
        "action": np.stack([output.action for output in single]),
        "command": np.stack([output.command for output in single]),
        "sampled_action": sampled.action,
        "sampled_command": sampled.command,
    }
    for name, answer in answers.items():
        error = np.abs(answer - np.array(getattr(golden, name)))
        worst = float(error.max())
        if not worst <= GOLDEN_TOLERANCE:
            row = int(np.argmax(error.max(axis=1)))
            raise PolicyError(
                f"does not reproduce its golden vectors: {name} of row {row} is off by {worst:.3g}, "
                f"allowed {GOLDEN_TOLERANCE:g}; the weights are not those that were exported"
            )
    action, robot = contract.action, contract.robot
    table = np.array([(joint.home, joint.lower, joint.upper) for joint in robot.joints])
    wanted = table[:, 0] + (np.array(golden.action) * action.scale) @ np.array(action.mixing).T
    if action.stepping:
        sine = np.array(golden.observation)[:, contract.observation.labels.index(CLOCK)]
        wanted = wanted + Stepping(np.array(action.stepping)).displacement(sine)
    error = np.abs(np.clip(wanted, table[:, 1], table[:, 2]) - golden.command).max(axis=0)  # (n,)
    if not error.max() <= GOLDEN_TOLERANCE:
        raise PolicyError(
            f"the action map of the contract is not the one of the graph: they differ by {error.max():.3g} "
            f"for {robot.joints[int(np.argmax(error))].name!r}"
        )


class PolicyRunner:
    """Drives one robot with a policy: states in, joint commands out.

    Builds the observations as `RobotEnv` does, and remembers the previous action and the history. Limits on the change
    of a command are the supervisor's task, not this one's.

    Attributes:
        policy: what it runs.
        goal: (g,), may be set while running; takes effect at the next step. With another cadence the legs go on from
            where they are in their stride.
        observation: (size,), what the policy was last given.
    """

    def __init__(self, policy: Policy) -> None:
        """Args: policy: to run. Raises PolicyError where it observes something this version does not know."""
        self.policy = policy
        contract = policy.contract
        try:
            self._observer = Observer(contract.observation)
        except KeyError as error:
            raise PolicyError(
                f"the policy observes {error.args[0]!r}, which this version of robot_rl does not know"
            ) from error
        self._no_action = np.zeros(len(contract.action.coordinates))
        self._action: Array = self._no_action
        self._fresh = True
        self._steps_by_clock = CLOCK in contract.observation.labels
        self._strides = Strides()
        self.goal: Array = np.zeros(len(contract.task.goal_labels))
        self.observation: Array = self._observer.observation()

    def reset(self, goal: Array | None = None) -> None:
        """Forgets the last episode; the next step begins a new one.

        Args:
            goal: (g,), in the units of the contract's goal labels; zeros by default.

        Raises:
            InvalidInput: wrong length or not finite.
        """
        labels = self.policy.contract.task.goal_labels
        wanted = np.zeros(len(labels)) if goal is None else np.array(goal, dtype=np.float64)
        if wanted.shape != (len(labels),) or not np.isfinite(wanted).all():
            raise InvalidInput(f"goal: expected {len(labels)} finite numbers ({', '.join(labels)}), got {goal}")
        self.goal = wanted
        self._action, self._fresh = self._no_action, True
        self._strides = Strides()

    def take_over(self, other: PolicyRunner) -> None:
        """Goes on where another runner is: its goal, its last action, and its history where both observe the same."""
        self.goal = other.goal
        self._strides = other._strides
        if len(other._action) == len(self._action):
            self._action = other._action
        if other.policy.contract.observation.labels == self.policy.contract.observation.labels:
            self._observer.restore(other._observer.observation())
            self._fresh = other._fresh
        else:
            self._fresh = True

    def step(self, state: RobotState) -> JointCommand:
        """The command for the state of this control tick; call it once per tick."""
        if self._steps_by_clock:
            time = float(state.stamp)
            strides = self._strides.at(time, float(self.goal[-1]))
            state = state if strides == time else replace(state, stamp=strides)
        if self._fresh:
            self._observer.reset(state, self._action, self.goal)
            self._fresh = False
        else:
            self._observer.advance(state, self._action, self.goal)
        self.observation = self._observer.observation()
        output = self._decide(self.observation)
        self._action = output.action.astype(np.float64)
        return JointCommand(output.command.astype(np.float64))

    def _decide(self, observation: Array) -> PolicyOutput:
        return self.policy.act(observation)

    @property
    def action(self) -> Array:
        """(d,), the last action."""
        return self._action.copy()


def new_session(model: bytes) -> InferenceSession:
    """ONNX Runtime on one thread; raises PolicyError where it cannot load the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread that sleeps when idle: the network is small, and the other cores belong to the control loop.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a dozen unrelated types
        reason = " ".join(str(error).split())
        raise PolicyError(f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {reason}") from error


def check_graph(session: InferenceSession, contract: Contract, more: Mapping[str, int] | None = None) -> None:
    """Refuses a graph with other inputs and outputs than its contract says.

    Args:
        session: of the whole graph.
        contract: of the policy.
        more: last dimension of each further input, by name.

    Raises:
        PolicyError: they differ.
    """
    size, actions, joints = contract.observation.size, len(contract.action.coordinates), len(contract.robot.joints)
    expected = {
        "observation": size, "noise": actions, **(more or {}),
        "action": actions, "command": joints, "sampled_action": actions, "sampled_command": joints,
    }  # fmt: skip
    found = {value.name: value.shape[-1] for value in (*session.get_inputs(), *session.get_outputs())}
    if found != expected:
        raise PolicyError(f"the graph does not match its contract: it has {found}, expected {expected}")


def check_rows(values: Array, what: str, names: tuple[str, ...] | list[str]) -> NDArray[np.float32]:
    """One or several rows of named numbers as float32, (size,) or (N, size).

    Raises:
        InvalidInput: a wrong shape, or a number that is not finite in float32; names it.
    """
    try:
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and is named below
            array = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what}: expected an array of numbers, got {type(values).__name__}") from error
    if array.ndim not in (1, 2) or np.ndim(values) != array.ndim or array.shape[-1] != len(names):
        raise InvalidInput(
            f"{what}: expected shape ({len(names)},) or (N, {len(names)}), got {np.shape(values)}; "
            f"entries: {names[0]} ... {names[-1]}"
        )
    if not np.isfinite(array).all():
        index = tuple(np.argwhere(~np.isfinite(array))[0])
        row = f" in row {index[0]}" if array.ndim == 2 else ""
        more = int((~np.isfinite(array)).sum()) - 1
        others = f" (and {more} more)" if more else ""
        given = np.asarray(values)[index]
        raise InvalidInput(f"{what}: {names[index[-1]]} is {given}{row}{others}; must be finite in float32")
    return array
