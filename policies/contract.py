"""What a policy file says of itself: everything that a robot, or a person, must know to run it.

The contract is JSON in the metadata of the ONNX file. Python writes the shortest decimal that reads back as the same
float, so nothing is rounded on the way. Beside it stands its SHA-256; the contract in turn holds that of the graph.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.json_values import NULL, build
from policies.onnx_bytes import split_metadata, with_metadata
from robot_rl.errors import ConfigurationError, PolicyError
from robot_rl.observation import ObservationLayout
from robot_rl.observation_settings import ObservationSettings
from robot_rl.stepping import CLOCK

FORMAT = 1
"""Version of what is written here; a reader refuses any other."""
COMPOSED_FORMAT = 2
"""Of the policies of several skills, which take more inputs; a reader from before them refuses it too."""
SEEING_FORMAT = 3
"""Of the policies that look at a camera, likewise."""
COMPOSITIONS = ("conjunction", "or", "gpi")
"""How Q-functions are combined; see `policies.composed_q`."""

CONTRACT_KEY = "robot_rl.contract"
HASH_KEY = "robot_rl.contract_sha256"

UNITS: Mapping[str, str] = {
    "joint_position": "rad",
    "joint_velocity": "rad/s",
    "joint_effort": "N m",
    "kp": "N m/rad",
    "kd": "N m s/rad",
    "action": "1, in [-1, 1]",
    "command": "rad",
    "control_rate": "Hz",
}
"""Units of the numbers in a contract; for a joint that slides, read m for rad and N for N m."""

Row = tuple[float, ...]


@dataclass(frozen=True)
class Joint:
    """One joint as the policy was trained with it."""

    name: str
    lower: float
    """rad or m."""
    upper: float
    """rad or m."""
    velocity_limit: float
    """rad/s or m/s."""
    effort_limit: float
    """N m or N."""
    home: float
    """rad or m."""
    kp: float
    """N m/rad or N/m."""
    kd: float
    """N m s/rad or N s/m."""


@dataclass(frozen=True)
class RobotPart:
    """The robot a policy was trained on."""

    name: str
    digest: str
    """SHA-256 of the robot's file."""
    control_rate: float
    """Hz."""
    joints: tuple[Joint, ...]
    """In the order of the command."""


@dataclass(frozen=True)
class ActionPart:
    """command = home + mixing (scale * action) + stepping, then clipped to [lower, upper]."""

    coordinates: tuple[str, ...]
    """Name of each of the d action components."""
    scale: Row
    """(d,), rad or m per unit of action."""
    mixing: tuple[Row, ...]
    """(n, d), joint displacement per unit of each scaled component."""
    stepping: tuple[Row, ...] = ()
    """(2, n), rad or m: `lift` of `robot_rl.stepping.Stepping`, by the clock observed; empty for none."""


@dataclass(frozen=True)
class TaskPart:
    """What the policy was trained to do."""

    name: str
    goal_labels: tuple[str, ...]
    goal_ranges: Mapping[str, Row]
    """Least and greatest goal that training saw, by label; empty where nobody said."""
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class NormalizerPart:
    """clip((observation - offset) / scale, -clip, clip); it is inside the graph, and here to be read."""

    offset: Row
    scale: Row
    clip: float = field(metadata={NULL: math.inf})
    """Infinity for none; null in JSON."""


@dataclass(frozen=True)
class Network:
    """Shape of the network."""

    sizes: tuple[int, ...]
    """Widths from observation to action."""
    parameters: int
    opset: int


@dataclass(frozen=True)
class Golden:
    """Inputs with the outputs that the learner itself gave for them; float32 in shortest decimals, k rows each."""

    observation: tuple[Row, ...]
    noise: tuple[Row, ...]
    action: tuple[Row, ...]
    command: tuple[Row, ...]
    sampled_action: tuple[Row, ...]
    sampled_command: tuple[Row, ...]


@dataclass(frozen=True)
class SkillPart:
    """One skill of a composed policy."""

    name: str
    task: TaskPart
    normalizer: NormalizerPart
    alpha: float
    """Temperature at the end of its training, reward units per nat."""
    sizes: tuple[int, ...]
    """Widths of its actor from observation to action."""
    settings: Mapping[str, Any]
    """Of the algorithm."""
    training: Mapping[str, Any]


@dataclass(frozen=True)
class ComposedGolden:
    """What a composed policy's golden vectors have beyond the plain ones, k rows."""

    weights: tuple[Row, ...]
    """(k, N)."""
    temperature: Row
    """(k,), reward units per nat."""
    value: Row
    sampled_value: Row
    effective_sample_size: Row
    disagreement: Row


@dataclass(frozen=True)
class CompositionPart:
    """What makes a policy a composed one."""

    kind: str
    """One of COMPOSITIONS."""
    corrected: bool
    """Whether a learnt divergence correction is subtracted."""
    skills: tuple[SkillPart, ...]
    weights: Row
    """(N,), in use where none are given."""
    temperature: float
    """In use where none is given, reward units per nat."""
    alpha: float
    """Temperature that the skills' Q-functions are brought to, reward units per nat."""
    points: int
    """Between the skills' means, among which the deterministic action is chosen."""
    draws: int
    """Among which the sampled action is chosen; a row of noise has draws x (d + 1) numbers."""
    report: Mapping[str, Any]
    """How far the skills disagree and how well the draws serve, over their replay."""
    golden: ComposedGolden
    refinement: int = 0
    """Steps up the gradient of Q from the best of the points."""
    joint: bool = False
    """Whether a policy learnt for all weights takes the place of the product of the skills'."""


@dataclass(frozen=True)
class CameraPart:
    """The camera that a policy looks at, as the robot's file described it in training."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    position: Row
    """m, world frame."""
    look_at: Row
    """m, world frame: what is in the middle of the picture."""
    field_of_view: float
    """degrees, of the picture's height."""
    golden: tuple[str, ...]
    """Pictures of the golden rows, base64 of height x width x (red, green, blue) bytes, the first row on top."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture."""
        return (self.height, self.width, 3)

    def pictures(self) -> NDArray[np.uint8]:
        """The golden pictures, (k, height, width, 3).

        Raises:
            PolicyError: one is no base64, or of another size.
        """
        try:
            each = [np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8) for text in self.golden]
            return np.stack([picture.reshape(self.shape) for picture in each])
        except ValueError as error:
            raise PolicyError(f"the contract is malformed: a picture of its camera: {error}") from error


@dataclass(frozen=True)
class Contract:
    """All that a policy file says of itself."""

    name: str
    robot: RobotPart
    action: ActionPart
    observation: ObservationLayout
    task: TaskPart
    normalizer: NormalizerPart
    network: Network
    algorithm: str
    settings: Mapping[str, Any]
    """Of the algorithm."""
    training: Mapping[str, Any]
    """Steps, seed, wall time, final return, command line: whatever the run recorded."""
    versions: Mapping[str, str]
    golden: Golden
    graph_sha256: str = ""
    """Of all bytes of the file except its metadata."""
    format: int = FORMAT
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    composition: CompositionPart | None = None
    """None for a plain policy. For a composed one `normalizer`, `settings` and `task` above are the first skill's."""
    camera: CameraPart | None = None
    """None for a policy that looks at none."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """(n,), in the order of the command."""
        return tuple(joint.name for joint in self.robot.joints)

    @property
    def observation_settings(self) -> ObservationSettings:
        """With these `make_task` makes the task observe what the policy takes."""
        return ObservationSettings(self.observation.length, self.observation.history, camera=self.camera is not None)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; floats keep full precision."""
        values = {"format": self.format, **{f.name: getattr(self, f.name) for f in fields(self)}}
        parts: dict[str, Any] = {name: value for name, value in values.items() if is_dataclass(value)}
        values |= {name: asdict(part) for name, part in parts.items()}
        values["observation"] = {**self.observation.to_dict(), "labels": list(self.observation.labels)}
        for name in ("composition", "camera"):
            if values[name] is None:
                del values[name]
        for part in (values, *values.get("composition", {}).get("skills", ())):
            if math.isinf(part["normalizer"]["clip"]):
                part["normalizer"]["clip"] = None
        return values

    def to_json(self) -> str:
        """One line of JSON, the same for equal contracts."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Contract:
        """The inverse of `to_dict`.

        Raises:
            PolicyError: another format, or a key that is missing or malformed.
        """
        if not isinstance(values, Mapping) or "format" not in values:
            raise PolicyError("the contract has no format version")
        wanted = COMPOSED_FORMAT if "composition" in values else SEEING_FORMAT if "camera" in values else FORMAT
        if values["format"] != wanted:
            raise PolicyError(
                f"the contract has format {values['format']!r}, this version of robot_rl reads {FORMAT}, and "
                f"{COMPOSED_FORMAT} for composed policies, {SEEING_FORMAT} for those that look at a camera"
            )
        try:
            for one in ("graph_sha256", "units"):  # the defaults of these are for a contract that is being made
                values[one]
            contract: Contract = build(cls, values)
        except KeyError as error:
            raise PolicyError(f"the contract lacks {error.args[0]!r}") from error
        except TypeError as error:
            raise PolicyError(f"the contract is malformed: {error}") from error
        _check_sizes(contract, values["observation"].get("labels"))
        return contract

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """The inverse of `to_json`."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise PolicyError(f"the contract is not JSON: {error}") from error
        return cls.from_dict(values)


def seal(model: bytes, contract: Contract) -> bytes:
    """The bytes of a policy file: the model with the contract and the hashes of both.

    Args:
        model: an ONNX model without metadata.
        contract: about it; its `graph_sha256` is filled in here.
    """
    text = replace(contract, graph_sha256=sha256(model)).to_json()
    return with_metadata(model, {CONTRACT_KEY: text, HASH_KEY: sha256(text.encode())})


def unseal(content: bytes) -> tuple[bytes, Contract]:
    """Takes a policy file apart and checks both hashes.

    Returns:
        The model without its metadata, and the contract.

    Raises:
        PolicyError: the bytes are truncated or edited, or carry no contract that this version reads.
    """
    try:
        model, metadata = split_metadata(content)
    except ValueError as error:
        raise PolicyError(f"truncated or damaged: {error}") from error
    if CONTRACT_KEY not in metadata or HASH_KEY not in metadata:
        raise PolicyError("carries no contract: it was truncated, or not made by `robot-rl export`")
    text = metadata[CONTRACT_KEY]
    if sha256(text.encode()) != metadata[HASH_KEY]:
        raise PolicyError("the contract was edited or damaged: its SHA-256 is not the recorded one")
    contract = Contract.from_json(text)
    if sha256(model) != contract.graph_sha256:
        raise PolicyError("the graph was edited or damaged: its SHA-256 is not the one in the contract")
    return model, contract


def read_policy(path: str | Path) -> tuple[bytes, Contract]:
    """Reads a policy file; see `unseal`.

    Raises:
        ConfigurationError: there is no such file.
        PolicyError: it is damaged; the message begins with the path.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read policy {path}: {error.strerror or error}") from error
    try:
        return unseal(content)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def read_contract(path: str | Path) -> Contract:
    """The contract of a policy file, hashes checked, without loading the network."""
    return read_policy(path)[1]


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _check_sizes(contract: Contract, labels: Any) -> None:
    _check_layout(contract.observation)
    size, joints, actions = contract.observation.size, len(contract.robot.joints), len(contract.action.coordinates)
    golden, composition = contract.golden, contract.composition
    rows = len(golden.observation)
    noise = actions if composition is None else composition.draws * (actions + 1)
    if labels is not None and labels != list(contract.observation.labels):
        raise PolicyError("the contract contradicts itself: its labels are not those of its observation layout")
    if contract.action.stepping and CLOCK not in contract.observation.labels:
        raise PolicyError(f"the contract contradicts itself: it steps by {CLOCK}, which it does not observe")
    widths: dict[str, tuple[Sequence[Row], int, int]] = {
        "normalizer.offset": ([contract.normalizer.offset], 1, size),
        "normalizer.scale": ([contract.normalizer.scale], 1, size),
        "action.scale": ([contract.action.scale], 1, actions),
        "action.mixing": (contract.action.mixing, joints, actions),
        "action.stepping": (contract.action.stepping, 2 if contract.action.stepping else 0, joints),
        "golden.observation": (golden.observation, rows, size),
        "golden.noise": (golden.noise, rows, noise),
        "golden.action": (golden.action, rows, actions),
        "golden.command": (golden.command, rows, joints),
        "golden.sampled_action": (golden.sampled_action, rows, actions),
        "golden.sampled_command": (golden.sampled_command, rows, joints),
    }
    widths |= {f"task.goal_ranges of {label}": ([row], 1, 2) for label, row in contract.task.goal_ranges.items()}
    if composition is not None:
        skills, more = len(composition.skills), composition.golden
        widths["composition.weights"] = ([composition.weights], 1, skills)
        widths["composition.golden.weights"] = (more.weights, rows, skills)
        for name in ("temperature", "value", "sampled_value", "effective_sample_size", "disagreement"):
            widths[f"composition.golden.{name}"] = ([getattr(more, name)], 1, rows)
        for skill in composition.skills:
            widths[f"offset of skill {skill.name!r}"] = ([skill.normalizer.offset], 1, size)
            widths[f"scale of skill {skill.name!r}"] = ([skill.normalizer.scale], 1, size)
    for name, (table, height, width) in widths.items():
        if len(table) != height or any(len(row) != width for row in table):
            raise PolicyError(f"the contract contradicts itself: {name} is not {height} x {width}")
    if contract.camera is not None and len(contract.camera.pictures()) != rows:
        raise PolicyError(f"the contract contradicts itself: its camera has not {rows} golden pictures")
    if rows == 0:
        raise PolicyError("the contract has no golden vectors, so the policy cannot be checked")
    lacking = [f"units.{name}" for name in UNITS if name not in contract.units]
    if lacking:
        raise PolicyError(f"the contract lacks {', '.join(map(repr, lacking))}")


def _check_layout(layout: ObservationLayout) -> None:
    start = 0
    for entry in layout.entries:
        sizes = {entry.size, len(entry.labels), len(entry.offset), len(entry.scale)}
        if entry.start != start or sizes != {entry.size}:
            raise PolicyError(
                f"the contract contradicts itself: observation.entries: {entry.name!r} of age {entry.age} begins at "
                f"{entry.start}, expected {start}, or its labels, offset and scale are not {entry.size} each"
            )
        start += entry.size
    if not start:
        raise PolicyError("the contract contradicts itself: observation.entries is empty")
