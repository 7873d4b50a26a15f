"""Turns a learner's actor into one ONNX file that carries its contract.

The graph is in `policies.graph`, what it holds of each kind of actor in `policies.actors`. Here the file is put
together, and compared with the learner before it gets its name.
"""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.actors import exporter
from policies.composed_runtime import kind_of
from policies.contract import (
    FORMAT,
    SEEING_FORMAT,
    ActionPart,
    CameraPart,
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
from policies.graph import OPSET, policy_graph
from robot_rl.action_map import ActionMap
from robot_rl.camera_spec import CameraSpec
from robot_rl.errors import CheckFailed, ConfigurationError, PolicyError
from robot_rl.observation_parts import CAMERA, ObservationParts, given_state
from robot_rl.spec import RobotSpec
from robot_rl.task import Task
from robot_rl.training.files import replace_file
from robot_rl.training.run import versions

Array = NDArray[np.floating]

PARITY_TOLERANCE = 1e-5
FLOAT32_SLACK = 4.0
GOLDEN_SLACK = 100.0
"""A golden row's choice must be clear by this many times the rounding of what it is chosen by."""
PARITY_OBSERVATIONS = 10_000
PARITY_SEEN = 1_000
"""Of a policy that looks."""
BLOCK = 1_000
"""Observations per call of the file while comparing; a policy that ranks candidates holds many numbers for each."""
GOLDEN_ROWS = 16


class Exportable(Protocol):
    """What the exporter needs of a learner."""

    observation_size: int
    action_size: int
    normalizer: Any

    @property
    def policy(self) -> torch.nn.Module:
        """The network that leaves training."""


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
        learner: its actor, of one of the kinds in `policies.actors`, and its normaliser are exported.
        task: what it was trained on; gives robot, observation layout and goal.
        path: of the file; an old one is replaced only by a whole and checked new one.
        name: of the policy; ROBOT-TASK by default.
        algorithm: name; the learner's own by default.
        settings: of the algorithm; the learner's own by default.
        training: steps, seed, wall time, final return, command line: what a reader may want to know.
        goal_ranges: least and greatest goal by label; the task's own by default, if it has any.
        observations: (N, size) raw ones from training, to compare on beside the synthetic ones; optional.

    Raises:
        CheckFailed: torch and the file differ by more than 1e-5 somewhere; see `check_parity`.
        ConfigurationError: the learner does not fit the task, or its actor cannot be exported.
        StorageError: the disk is full or not writable; an old file is untouched.
    """
    parts = _seen(learner)
    if (parts.state, learner.action_size) != (task.layout.size, task.spec.action.size):
        raise ConfigurationError(
            f"the learner maps {parts.state} observations to {learner.action_size} actions, "
            f"task {task.name!r} on robot {task.spec.name!r} has {task.layout.size} and {task.spec.action.size}"
        )
    reference = TorchPolicy(learner, task)
    model = build_model(learner, task)
    normalizer = learner.normalizer.first(parts.state)
    tests = test_observations(normalizer, observations)
    if parts.camera:
        tests = _with_pictures(tests[:: PARITY_OBSERVATIONS // PARITY_SEEN], parts.camera)
    golden, pictures = _golden(reference, tests)
    own = getattr(learner, "settings", None)
    contract = Contract(
        name=name or f"{task.spec.name}-{task.name}",
        robot=robot_part(task.spec),
        action=action_part(task),
        observation=task.layout,
        task=task_part(task, goal_ranges),
        normalizer=NormalizerPart(
            floats(normalizer.offset), floats(normalizer.scale), float(normalizer.clip)
        ),
        network=_network(learner.policy),
        algorithm=algorithm or str(getattr(learner, "name", type(learner).__name__.lower())),
        settings=plain(settings if settings is not None else own if own is not None else {}),
        training=plain(training or {}),
        versions={**versions(), "onnx": onnx.__version__, "onnxruntime": metadata.version("onnxruntime")},
        golden=golden,
        format=FORMAT if task.camera is None else SEEING_FORMAT,
        camera=None if task.camera is None else camera_part(task.camera, pictures),
    )
    content = seal(model, contract)
    max_error, rounding = check_parity(reference, content, tests)
    path = Path(path)
    replace_file(path, content)
    return ExportReport(str(path), len(content), max_error, rounding, len(tests), unseal(content)[1].graph_sha256)


def build_model(learner: Exportable, task: Task) -> bytes:
    """The ONNX model of a learner's policy, without metadata.

    Raises:
        ConfigurationError: the actor is of no kind that can be exported.
    """
    return policy_graph(exporter(learner.policy), learner.normalizer.first(_seen(learner).state), task)


def check_parity(reference: TorchPolicy, content: bytes, observations: Array) -> tuple[float, float]:
    """Compares torch with a policy file over actions and commands, deterministic and sampled.

    A network with large weights, given extreme observations, is off by more than 1e-5 in float32 whoever computes it.
    There, and only there, the file may be so too, by `FLOAT32_SLACK` times torch's own distance from float64. Where a
    policy chooses among candidates, and float32 cannot say which of some is best, the file may take any of those.

    Args:
        reference: the learner's own answer.
        content: of the policy file.
        observations: raw, (N, size); of a policy that looks: state and pixels.

    Returns:
        The largest difference between torch and the file, and between torch in float32 and in float64.

    Raises:
        CheckFailed: a difference is too large, or the file does not even load.
    """
    try:
        policy = kind_of(unseal(content)[1]).from_bytes(content)
    except PolicyError as error:
        raise CheckFailed(f"the exported policy does not load: {error}") from error
    noise = np.random.default_rng(1).standard_normal((len(observations), reference.actions)).astype(np.float32)
    given = reference.parts.observations
    worst = rounding = 0.0
    for kind, draws in (("deterministic", None), ("sampled", noise)):
        blocks = [
            policy.act(given(observations[block]), None if draws is None else draws[block])
            for block in (slice(start, start + BLOCK) for start in range(0, len(observations), BLOCK))
        ]
        file = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        if draws is None:
            torch32, torch64 = reference.nearest_choice(observations, file[0])
        else:
            torch32, torch64 = reference(observations, draws), reference.exact(observations, draws)
        for what, ours, theirs, exact in zip(("action", "command"), file, torch32, torch64, strict=True):
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

    def __init__(self, learner: Exportable, task: Task) -> None:
        """Args: learner: whose policy; task: what it was trained on."""
        self.parts = _seen(learner)
        self._normalizer = learner.normalizer.first(self.parts.seen)
        self._actor, self._command = learner.policy, LimitedCommand(task)
        self._exact_actor = copy.deepcopy(learner.policy).double()
        self._kind = exporter(learner.policy)
        self.actions = learner.action_size

    def __call__(self, observation: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """Action (N, d) and command (N, n) for raw observations (N, size), with explicit noise (N, d) if sampled."""
        return self._answer(self._actor, np.float32, observation, noise)

    def exact(self, observation: Array, noise: Array | None = None) -> tuple[Array, Array]:
        """The same, the actor in float64."""
        return self._answer(self._exact_actor, np.float64, observation, noise)

    def nearest_choice(
        self, observation: Array, action: Array
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """The deterministic answers in float32 and in float64, as near to some actions (N, d) as is right.

        Where several candidates are best as far as float32 can tell, any of them is right.
        """
        ours, exact, best = self._choices(observation, FLOAT32_SLACK)
        if best.shape[1] == 1:
            return self(observation), self.exact(observation)
        distance = np.where(best, np.abs(exact - action[:, None]).max(axis=2), np.inf)  # (N, K)
        chosen = np.arange(len(best)), distance.argmin(axis=1)
        return tuple((action, self._command(action, observation)) for action in (ours[chosen], exact[chosen]))  # type: ignore[return-value]

    def decided(self, observation: Array) -> NDArray[np.bool_]:
        """Whether the deterministic answer is the same on every processor, (N,): no other candidate comes close."""
        _, exact, best = self._choices(observation, GOLDEN_SLACK)
        top = exact[np.arange(len(best)), best.argmax(axis=1)]  # (N, d), the first of the best
        apart = np.abs(exact - top[:, None]).max(axis=2)  # (N, K)
        return np.where(best, apart, 0.0).max(axis=1) < PARITY_TOLERANCE / 10

    def _choices(self, observation: Array, slack: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Candidates in float32 and in float64, (N, K, d), and which are best but for slack x rounding, (N, K)."""
        x = torch.from_numpy(self._normalizer(observation))
        with torch.inference_mode():
            action, worth = self._kind.ranked(self._actor, x)
            exact, exact_worth = self._kind.ranked(self._exact_actor, x.double())
            rounding = (worth - exact_worth).abs().amax(dim=1, keepdim=True)  # (N, 1)
            best = exact_worth >= exact_worth.amax(dim=1, keepdim=True) - slack * rounding
            return action.numpy(), exact.numpy(), best.numpy()

    def _answer(
        self, actor: torch.nn.Module, dtype: type[np.floating], observation: Array, noise: Array | None
    ) -> tuple[Array, Array]:
        draws = None if noise is None else torch.from_numpy(noise.astype(dtype))
        with torch.inference_mode():
            seen = torch.from_numpy(self._normalizer(observation).astype(dtype))
            action = self._kind.action(actor, seen, draws).numpy()
            return action, self._command(action, observation)


class LimitedCommand:
    """The joint command of an action, inside the joint limits, as in training."""

    def __init__(self, task: Task) -> None:
        """Args: task: gives robot and action map."""
        self._map = ActionMap(task.spec, task.stepping, task.layout)
        self._limits = task.spec.lower, task.spec.upper

    def __call__(self, action: Array, observation: Array) -> Array:
        """(..., n), rad or m, for actions (..., d) and the raw observations (..., size) that they answer."""
        return np.clip(self._map.command(action, observation), *self._limits)


def test_observations(normalizer: Any, recorded: Array | None) -> NDArray[np.float32]:
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


def _with_pictures(states: Array, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Rows of state and pixels: of noise, of one colour, and of a gradient in turns."""
    rng, count = np.random.default_rng(3), len(states)
    pictures = rng.integers(0, 256, (count, *shape)).astype(np.float32)
    pictures[1::3] = rng.integers(0, 256, (len(pictures[1::3]), 1, 1, shape[2]))
    ramp = np.linspace(0.0, 255.0, shape[1])[:, None] * rng.random((len(pictures[2::3]), 1, 1, shape[2]))
    pictures[2::3] = np.round(ramp)
    return np.concatenate([states, pictures.reshape(count, -1)], axis=1, dtype=np.float32)


def _golden(reference: TorchPolicy, tests: Array) -> tuple[Golden, NDArray[np.uint8] | None]:
    """Most rows typical, the last two extreme, all of them such that float32 is exact enough to be compared closely.

    Returns:
        The vectors, and the pictures (k, height, width, channels) of a policy that looks.
    """
    some = np.concatenate([tests[:500], tests[-500:]])
    rounding = np.abs(reference(some)[0] - reference.exact(some)[0]).max(axis=1)
    rounding[~reference.decided(some)] = np.inf
    close = some[rounding < PARITY_TOLERANCE / 10]
    if len(close) < GOLDEN_ROWS:
        close = some[np.argsort(rounding)[:GOLDEN_ROWS]]
    observation = np.concatenate([close[: GOLDEN_ROWS - 2], close[-2:]])
    noise = np.random.default_rng(2).standard_normal((len(observation), reference.actions)).astype(np.float32)
    action, command = reference(observation)
    sampled_action, sampled_command = reference(observation, noise)
    given = reference.parts.observations(observation)
    rows = (given_state(given), noise, action, command, sampled_action, sampled_command)
    return Golden(*map(short, rows)), given[CAMERA] if reference.parts.camera else None


def camera_part(camera: CameraSpec, pictures: Any) -> CameraPart:
    """What a contract says of a camera; `pictures` of the golden rows, (k, height, width, 3) uint8."""
    golden = tuple(base64.b64encode(picture.tobytes()).decode() for picture in pictures)
    return CameraPart(**asdict(camera), golden=golden)


def _seen(learner: Exportable) -> ObservationParts:
    """What a learner's policy observes; a learner that says nothing of parts has numbers alone."""
    parts = getattr(learner, "parts", None) or ObservationParts(learner.observation_size)
    return replace(parts, privileged=0)


def short(rows: Array) -> tuple[tuple[float, ...], ...]:
    """Float32 numbers as the shortest decimals that read back as the same float32: half the text, nothing lost."""
    return tuple(tuple(float(str(value)) for value in row) for row in rows.astype(np.float32))


def floats(values: Iterable[Any]) -> tuple[float, ...]:
    """Numbers as a contract holds them."""
    return tuple(float(value) for value in values)


def robot_part(spec: RobotSpec) -> RobotPart:
    """What a contract says of a robot."""
    columns = (spec.lower, spec.upper, spec.velocity_limit, spec.effort_limit, spec.home, spec.kp, spec.kd)
    rows = zip(*map(floats, columns), strict=True)
    joints = tuple(Joint(name, *row) for name, row in zip(spec.joint_names, rows, strict=True))
    return RobotPart(spec.name, spec.digest, float(spec.control_rate), joints)


def action_part(task: Task) -> ActionPart:
    """What a contract says of the action map."""
    action, stepping = task.spec.action, task.stepping
    mixing, lift = action.mixing, () if stepping is None else stepping.lift
    rows = (tuple(floats(row) for row in table) for table in (mixing, lift))
    return ActionPart(action.coordinates, floats(action.scale), *rows)


def task_part(task: Task, goal_ranges: Mapping[str, tuple[float, float]] | None) -> TaskPart:
    """What a contract says of a task; `goal_ranges` None for the task's own."""
    given = getattr(task, "goal_ranges", {}) if goal_ranges is None else goal_ranges
    ranges = {label: floats(bounds) for label, bounds in given.items()}
    return TaskPart(task.name, task.goal_labels, ranges, plain(getattr(task, "settings", {})))


def _network(actor: Any) -> Network:
    return Network(exporter(actor).sizes, sum(parameter.numel() for parameter in actor.parameters()), OPSET)


def plain(value: Any) -> Any:
    """JSON values; what JSON lacks becomes null or text."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
