"""Turns a learner's actor into one ONNX file that carries its contract.

The graph is written node by node: a small network needs no tracing, and the file stays readable and the same from one
version of torch to the next.

    observation ─ normalise ─ layers ─┬─ mean ─ tanh ──────────────────── action ─ map ─ clip ─ command
                                      └─ log std ─ exp ─ x noise + mean ─ tanh ─ sampled_action ─ sampled_command
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from policies.contract import (
    ActionPart,
    Contract,
    Golden,
    Joint,
    Network,
    NormalizerPart,
    RobotPart,
    TaskPart,
    seal,
    unseal,
)
from policies.runtime import OnnxPolicy
from robot_rl.errors import CheckFailed, ConfigurationError, PolicyError
from robot_rl.spec import RobotSpec
from robot_rl.task import Task
from robot_rl.training.files import replace_file
from robot_rl.training.run import versions

Array = NDArray[np.floating]

OPSET = 17
IR_VERSION = 8
"""Both of 2022, so that the ONNX Runtime of an older robot reads the file."""

PARITY_TOLERANCE = 1e-5
FLOAT32_SLACK = 4.0
PARITY_OBSERVATIONS = 10_000
GOLDEN_ROWS = 16

REACH_MARGIN = 1e-4
"""rad or m: a joint that stays this far from its limits whatever the action needs no clipping."""


class Exportable(Protocol):
    """What the exporter needs of a learner."""

    observation_size: int
    action_size: int
    normalizer: Any
    actor: torch.nn.Module


@dataclass(frozen=True)
class ExportReport:
    """What an export came to."""

    path: str
    size: int
    """Bytes."""
    max_error: float
    """Largest difference between torch and the file, over all outputs."""
    rounding: float
    """The same between torch in float32 and torch in float64: what float32 itself costs."""
    observations: int
    """How many observations were compared."""
    sha256: str
    """Of the graph."""


def export_policy(
    learner: Exportable,
    task: Task,
    path: str | Path,
    name: str | None = None,
    algorithm: str | None = None,
    settings: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    goal_ranges: Mapping[str, tuple[float, float]] | None = None,
    observations: Array | None = None,
) -> ExportReport:
    """Writes a learner's policy as one ONNX file, after comparing it with the learner.

    Args:
        learner: its actor, a stack of ReLU layers with a Gaussian head, and its normaliser are exported.
        task: what it was trained on; gives robot, observation layout and goal.
        path: of the file; an old one is replaced only by a whole and checked new one.
        name: of the policy; ROBOT-TASK by default.
        algorithm: name; the learner's class by default.
        settings: of the algorithm; the learner's own by default.
        training: steps, seed, wall time, final return, command line: what a reader may want to know.
        goal_ranges: least and greatest goal by label; the task's own by default, if it has any.
        observations: (N, size) raw ones from training, to compare on beside the synthetic ones; optional.

    Raises:
        CheckFailed: torch and the file differ by more than 1e-5 somewhere; see `check_parity`.
        ConfigurationError: the learner does not fit the task, or its actor cannot be exported.
        StorageError: the disk is full or not writable; an old file is untouched.
    """
    if (learner.observation_size, learner.action_size) != (task.layout.size, task.spec.action.size):
        raise ConfigurationError(
            f"the learner maps {learner.observation_size} observations to {learner.action_size} actions, "
            f"task {task.name!r} on robot {task.spec.name!r} has {task.layout.size} and {task.spec.action.size}"
        )
    reference = TorchPolicy(learner, task.spec)
    model = build_model(learner, task.spec)
    tests = _test_observations(learner.normalizer, observations)
    golden = _golden(reference, tests)
    own = getattr(learner, "settings", None)
    contract = Contract(
        name=name or f"{task.spec.name}-{task.name}",
        robot=_robot_part(task.spec),
        action=_action_part(task.spec),
        observation=task.layout,
        task=_task_part(task, goal_ranges),
        normalizer=NormalizerPart(
            _floats(learner.normalizer.offset), _floats(learner.normalizer.scale), float(learner.normalizer.clip)
        ),
        network=_network(learner.actor),
        algorithm=algorithm or type(learner).__name__.lower(),
        settings=_plain(settings if settings is not None else own if own is not None else {}),
        training=_plain(training or {}),
        versions={**versions(), "onnx": onnx.__version__, "onnxruntime": metadata.version("onnxruntime")},
        golden=golden,
    )
    content = seal(model, contract)
    max_error, rounding = check_parity(reference, content, tests)
    path = Path(path)
    replace_file(path, content)
    return ExportReport(str(path), len(content), max_error, rounding, len(tests), unseal(content)[1].graph_sha256)


def build_model(learner: Exportable, spec: RobotSpec) -> bytes:
    """The ONNX model of a learner's policy, without metadata.

    Raises:
        ConfigurationError: the actor is not a stack of linear layers with a Gaussian head.
    """
    graph = _Graph()
    mean, log_std = _network_nodes(graph, learner)
    actor: Any = learner.actor
    graph.node("Tanh", [mean], "action")
    action_map = _map_constants(graph, spec)
    action_map("action", "command")
    bounds = [graph.constant("log_std_min", actor.log_std_min), graph.constant("log_std_max", actor.log_std_max)]
    std = graph.node("Exp", [graph.node("Clip", [log_std, *bounds], "log_std")], "std")
    draw = graph.node("Add", [mean, graph.node("Mul", [std, "noise"], "scaled_noise")], "sample")
    graph.node("Tanh", [draw], "sampled_action")
    action_map("sampled_action", "sampled_command")

    actions, joints = learner.action_size, spec.joints
    inputs = [
        _value("observation", learner.observation_size, "raw, SI units; see the contract in the metadata"),
        _value("noise", actions, "standard normal; only the sampled outputs depend on it"),
    ]
    outputs = [
        _value("action", actions, "deterministic, in [-1, 1]"),
        _value("command", joints, "joint positions for it, rad or m, inside the limits"),
        _value("sampled_action", actions, "sampled with the noise, in [-1, 1]"),
        _value("sampled_command", joints, "joint positions for it, rad or m, inside the limits"),
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="robot_rl",
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def check_parity(reference: TorchPolicy, content: bytes, observations: Array) -> tuple[float, float]:
    """Compares torch with a policy file over actions and commands, deterministic and sampled.

    A network with large weights, given extreme observations, is off by more than 1e-5 in float32 whoever computes it.
    There, and only there, the file may be so too, by `FLOAT32_SLACK` times torch's own distance from float64.

    Args:
        reference: the learner's own answer.
        content: of the policy file.
        observations: raw, (N, size).

    Returns:
        The largest difference between torch and the file, and between torch in float32 and in float64.

    Raises:
        CheckFailed: a difference is too large, or the file does not even load.
    """
    try:
        policy = OnnxPolicy.from_bytes(content)
    except PolicyError as error:
        raise CheckFailed(f"the exported policy does not load: {error}") from error
    noise = np.random.default_rng(1).standard_normal((len(observations), reference.actions)).astype(np.float32)
    worst = rounding = 0.0
    for kind, draws in (("deterministic", None), ("sampled", noise)):
        answers = policy.act(observations, draws), reference(observations, draws), reference.exact(observations, draws)
        for what, ours, theirs, exact in zip(("action", "command"), *answers, strict=True):
            rounded = float(np.abs(theirs - exact).max())
            allowed = max(PARITY_TOLERANCE, FLOAT32_SLACK * rounded)
            gap = np.abs(ours - theirs).max(axis=1)  # (N,)
            if not gap.max() <= allowed:
                raise CheckFailed(
                    f"torch and ONNX differ: {kind} {what} of observation {int(np.argmax(gap))} by {gap.max():.3g}, "
                    f"allowed {allowed:.3g}"
                )
            worst, rounding = max(worst, float(gap.max())), max(rounding, rounded)
    return worst, rounding


class TorchPolicy:
    """The learner's own answer, as in training: its normaliser, its actor, the spec's action map and limits."""

    def __init__(self, learner: Exportable, spec: RobotSpec) -> None:
        """Args: learner: whose policy; spec: the robot."""
        self._normalizer, self._actor, self._spec = learner.normalizer, learner.actor, spec
        self._exact_actor = copy.deepcopy(learner.actor).double()
        self.actions = learner.action_size

    def __call__(self, observation: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """Action (N, d) and command (N, n) for raw observations (N, size), with explicit noise (N, d) if sampled."""
        return self._answer(self._actor, np.float32, observation, noise)

    def exact(self, observation: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """The same, the actor in float64."""
        return self._answer(self._exact_actor, np.float64, observation, noise)

    def _answer(
        self, actor: torch.nn.Module, dtype: type[np.floating], observation: Array, noise: Array | None
    ) -> tuple[Array, Array]:
        spec = self._spec
        with torch.inference_mode():
            mean, log_std = actor(torch.from_numpy(self._normalizer(observation).astype(dtype)))
            if noise is not None:
                mean = mean + log_std.exp() * torch.from_numpy(noise.astype(dtype))
            action = torch.tanh(mean).numpy()
        command = spec.home + (action * spec.action.scale) @ spec.action.mixing.T
        return action, np.clip(command, spec.lower, spec.upper)


class _Graph:
    """Nodes and constants in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name


def _network_nodes(graph: _Graph, learner: Exportable) -> tuple[str, str]:
    """Normaliser and layers; returns the names of mean and log std."""
    normalizer, x = learner.normalizer, "observation"
    # The same three operations in the same order as the normaliser, so that they round alike.
    if np.any(normalizer.offset):
        x = graph.node("Sub", [x, graph.constant("offset", normalizer.offset)], "centred")
    if np.any(normalizer.scale != 1):
        x = graph.node("Div", [x, graph.constant("scale", normalizer.scale)], "scaled")
    if math.isfinite(normalizer.clip):
        bounds = [graph.constant("clip_low", -normalizer.clip), graph.constant("clip_high", normalizer.clip)]
        x = graph.node("Clip", [x, *bounds], "normalised")
    *hidden, head = _layers(learner.actor)
    for index, layer in enumerate(hidden):
        x = graph.node("Relu", [_linear(graph, x, f"linear_{index}", layer.weight, layer.bias)], f"hidden_{index}")
    # The head's halves apart: the deterministic answer then pays for the mean alone.
    halves = zip(head.weight.chunk(2), head.bias.chunk(2), ("mean", "raw_log_std"), strict=True)
    mean, log_std = (_linear(graph, x, name, weight, bias) for weight, bias, name in halves)
    return mean, log_std


def _linear(graph: _Graph, x: str, name: str, weight: Tensor, bias: Tensor) -> str:
    constants = (
        graph.constant(f"{name}_weight", weight.detach().numpy().T),  # (inputs, outputs)
        graph.constant(f"{name}_bias", bias.detach().numpy()),
    )
    return graph.node("Gemm", [x, *constants], name)


def _map_constants(graph: _Graph, spec: RobotSpec) -> _ActionMapNodes:
    """The constants of the action map, for the deterministic and the sampled command alike."""
    matrix = spec.action.mixing * spec.action.scale  # (n, d)
    square = matrix.shape[0] == matrix.shape[1]
    diagonal = square and np.array_equal(matrix, np.diag(np.diag(matrix)))
    graph.constant("gain", np.diag(matrix) if diagonal else matrix.T)
    graph.constant("home", spec.home)
    reach = np.abs(matrix).sum(axis=1)  # (n,), largest displacement that an action in [-1, 1] can ask for
    low, high = spec.home - reach - REACH_MARGIN, spec.home + reach + REACH_MARGIN
    limited = bool(np.any((low < spec.lower) | (high > spec.upper)))
    if limited:
        # Rounded inwards: a float32 command must not lie outside the float64 limits that the supervisor keeps.
        graph.constant("lower", _inward(spec.lower, np.inf))
        graph.constant("upper", _inward(spec.upper, -np.inf))
    return _ActionMapNodes(graph, "Mul" if diagonal else "MatMul", limited)


@dataclass(frozen=True)
class _ActionMapNodes:
    """command = home + mixing (scale * action), clipped to the limits where the action could reach them."""

    graph: _Graph
    product: str
    limited: bool

    def __call__(self, action: str, command: str) -> None:
        node = self.graph.node
        change = node(self.product, [action, "gain"], f"{command}_change")
        if not self.limited:
            node("Add", [change, "home"], command)
            return
        wanted = node("Add", [change, "home"], f"{command}_wanted")
        node("Min", [node("Max", [wanted, "lower"], f"{command}_raised"), "upper"], command)


def _inward(limit: Array, towards: float) -> NDArray[np.float32]:
    rounded = limit.astype(np.float32)
    outside = rounded < limit if towards > 0 else rounded > limit
    return np.where(outside, np.nextafter(rounded, np.float32(towards)), rounded).astype(np.float32)


def _layers(actor: Any) -> list[torch.nn.Linear]:
    wanted = ("hidden", "head", "log_std_min", "log_std_max")
    missing = [name for name in wanted if not hasattr(actor, name)]
    layers = [] if missing else [*actor.hidden, actor.head]
    if missing or not all(isinstance(layer, torch.nn.Linear) for layer in layers):
        raise ConfigurationError(
            f"cannot export an actor of type {type(actor).__name__}: expected linear layers in `hidden` and `head`, "
            "with log_std_min and log_std_max"
        )
    return layers


def _value(name: str, width: int, meaning: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width], doc_string=meaning)


def _test_observations(normalizer: Any, recorded: Array | None) -> NDArray[np.float32]:
    """PARITY_OBSERVATIONS raw observations (N, size): typical, recorded if given, and extreme."""
    rng = np.random.default_rng(0)
    offset, scale = np.asarray(normalizer.offset), np.asarray(normalizer.scale)
    typical = offset + scale * rng.standard_normal((PARITY_OBSERVATIONS, offset.size))
    if recorded is not None and len(recorded):
        some = rng.choice(len(recorded), min(len(recorded), PARITY_OBSERVATIONS // 2), replace=False)
        typical[: len(some)] = np.asarray(recorded)[some]
    tests = typical.astype(np.float32)
    extreme = tests[-PARITY_OBSERVATIONS // 5 :]  # a view
    signs = np.where(rng.random(extreme.shape) < 0.5, -1.0, 1.0)
    if math.isfinite(normalizer.clip):
        sizes = np.resize([normalizer.clip, 2.0 * normalizer.clip, 1e6, 1e30], len(extreme))[:, None]
    else:
        # Without a clip a huge observation only shows how float32 overflows, in torch as in ONNX.
        sizes = np.resize([3.0, 5.0, 10.0, 20.0], len(extreme))[:, None]
    spread = np.where(rng.random(extreme.shape) < rng.random((len(extreme), 1)), signs * sizes * scale, 0.0)
    extreme[:] = (offset + spread).astype(np.float32)
    tests[-1] = 0.0
    return tests


def _golden(reference: TorchPolicy, tests: Array) -> Golden:
    """Most rows typical, the last two extreme, all of them such that float32 is exact enough to be compared closely."""
    some = np.concatenate([tests[:500], tests[-500:]])
    rounding = np.abs(reference(some)[0] - reference.exact(some)[0]).max(axis=1)
    close = some[rounding < PARITY_TOLERANCE / 10]
    if len(close) < GOLDEN_ROWS:
        close = some[np.argsort(rounding)[:GOLDEN_ROWS]]
    observation = np.concatenate([close[: GOLDEN_ROWS - 2], close[-2:]])
    noise = np.random.default_rng(2).standard_normal((len(observation), reference.actions)).astype(np.float32)
    action, command = reference(observation)
    sampled_action, sampled_command = reference(observation, noise)
    return Golden(*map(_short, (observation, noise, action, command, sampled_action, sampled_command)))


def _short(rows: Array) -> tuple[tuple[float, ...], ...]:
    """Float32 numbers as the shortest decimals that read back as the same float32: half the text, nothing lost."""
    return tuple(tuple(float(str(value)) for value in row) for row in rows.astype(np.float32))


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _robot_part(spec: RobotSpec) -> RobotPart:
    columns = (spec.lower, spec.upper, spec.velocity_limit, spec.effort_limit, spec.home, spec.kp, spec.kd)
    rows = zip(*map(_floats, columns), strict=True)
    joints = tuple(Joint(name, *row) for name, row in zip(spec.joint_names, rows, strict=True))
    return RobotPart(spec.name, spec.digest, float(spec.control_rate), joints)


def _action_part(spec: RobotSpec) -> ActionPart:
    action = spec.action
    return ActionPart(action.coordinates, _floats(action.scale), tuple(_floats(row) for row in action.mixing))


def _task_part(task: Task, goal_ranges: Mapping[str, tuple[float, float]] | None) -> TaskPart:
    given = getattr(task, "goal_ranges", {}) if goal_ranges is None else goal_ranges
    ranges = {label: _floats(bounds) for label, bounds in given.items()}
    return TaskPart(task.name, task.goal_labels, ranges, _plain(getattr(task, "settings", {})))


def _network(actor: Any) -> Network:
    layers = _layers(actor)
    sizes = (layers[0].in_features, *(layer.out_features for layer in layers[:-1]), layers[-1].out_features // 2)
    return Network(sizes, sum(parameter.numel() for parameter in actor.parameters()), OPSET)


def _plain(value: Any) -> Any:
    """JSON values; what JSON lacks becomes null or text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
