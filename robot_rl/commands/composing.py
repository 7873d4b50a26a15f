"""Composed policies as folders: made from finished runs, written, and read again; shared by compose and export.

A folder holds composition.json (which runs, weights, temperature), report.json, correction.safetensors where one was
learnt, joint.safetensors where a joint policy was, shared.safetensors where the skills learnt from each other's
experience, and policy.onnx. It refers to the runs;
the policy file needs them no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from policies.candidates import DRAWS, POINTS, CandidatePolicy, CandidateSettings
from policies.composed_export import export_composed
from policies.composed_graph import skill_sizes
from policies.composed_q import ComposedQ
from policies.correction import Correction, CorrectionSettings, learn_correction
from policies.distillation import DistillationSettings, distil
from policies.export import ExportReport, export_policy
from policies.joint import Joint, JointSettings, learn_joint
from policies.sharing import check_sharing, from_all, paid_to_all, share
from policies.skills import Skill, goal_ranges
from robot_rl.algorithms.learner import Batch
from robot_rl.commands.configuration import saved_config
from robot_rl.commands.exporting import find_checkpoint, saved_command
from robot_rl.commands.policy_files import COMPOSITION, is_composition, is_run
from robot_rl.errors import ConfigurationError, StorageError
from robot_rl.make import make_learner
from robot_rl.settings import from_mapping
from robot_rl.task import Task
from robot_rl.training.checkpoint import load_checkpoint
from robot_rl.training.files import place_folder, to_json
from robot_rl.training.replay import Replay
from robot_rl.training.run import runs_within, versions

REPORT, CORRECTION, JOINT, SHARED = (
    "report.json", "correction.safetensors", "joint.safetensors", "shared.safetensors",
)  # fmt: skip


@dataclass(frozen=True)
class SkillSource:
    """Where a skill comes from."""

    name: str
    run: str
    checkpoint: str
    """Name of the checkpoint's folder."""


@dataclass(frozen=True)
class Composition:
    """What composition.json says."""

    skills: tuple[SkillSource, ...]
    kind: str
    weights: tuple[float, ...]
    temperature: float
    """Reward units per nat."""
    points: int = POINTS
    draws: int = DRAWS
    refine: int = 0
    """Steps up the gradient of Q."""
    correction: dict[str, Any] | None = None
    """Settings of its learning; None for none."""
    joint: dict[str, Any] | None = None
    """Settings of learning what the skills are worth together; None if that was not."""
    shared_updates: int = 0
    """Of every skill, from the experience of all."""
    versions: dict[str, str] = field(default_factory=versions)

    @classmethod
    def read(cls, folder: Path) -> Composition:
        """Reads a folder.

        Raises:
            StorageError: the file is damaged.
        """
        path = folder / COMPOSITION
        try:
            values = json.loads(path.read_bytes())
            return cls(**{**values, "skills": tuple(SkillSource(**skill) for skill in values["skills"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{path} is damaged: {error}") from error


def skill_sources(given: Sequence[str], names: Sequence[str] | None = None) -> tuple[SkillSource, ...]:
    """Finds runs, or checkpoints of runs, and names them.

    Args:
        given: folders of runs, or of checkpoints inside of them.
        names: of the skills; the folders' by default, with as much of their path as tells them apart.

    Raises:
        ConfigurationError: there is no run, it has no checkpoint, or there are not as many names as runs.
    """
    if names is not None and len(names) != len(given):
        raise ConfigurationError(f"--names: {len(given)} skills need as many names, got {len(names)}")
    found = []
    for text in given:
        path = Path(text)
        inside = (path / "manifest.json").is_file()
        run = path.parent.parent if inside else path
        if is_composition(path):
            raise ConfigurationError(f"{text} is composed already; compose the runs that its {COMPOSITION} names")
        if not is_run(run):
            raise ConfigurationError(f"{text} is not a run: it has no config.json{runs_within(run)}")
        found.append((run, find_checkpoint(run, path.name if inside else None).name))
    if names is None:
        parts = [run.resolve().parts for run, _ in found]
        depth = next((k for k in range(1, 9) if len({part[-k:] for part in parts}) == len(parts)), 1)
        names = ["/".join(part[-depth:]) for part in parts]
    return tuple(
        SkillSource(name, str(run.resolve()), checkpoint) for name, (run, checkpoint) in zip(names, found, strict=True)
    )


class Loaded(NamedTuple):
    """What a run brings to a composition."""

    source: SkillSource
    learner: Any
    task: Task
    replay: Replay | None
    """None where it is missing or cannot be read."""
    settings: Mapping[str, Any]
    """Of the algorithm."""
    training: Mapping[str, Any]

    def skill(self) -> Skill:
        """The skill that the learner has now; raises ConfigurationError where its algorithm cannot be composed."""
        return Skill.of_learner(self.learner, self.task, self.source.name, self.settings, self.training)


def load_skill(source: SkillSource) -> Loaded:
    """Reads a run's checkpoint.

    Raises:
        ConfigurationError: the run is gone.
        StorageError: the checkpoint is damaged.
    """
    run = Path(source.run)
    if not is_run(run):
        raise ConfigurationError(f"skill {source.name!r}: there is no run at {source.run} any more")
    config = saved_config(run)
    for part in ("camera", "privileged"):
        if config.observation.get(part):
            raise ConfigurationError(
                f"skill {source.name!r}: its run has observation.{part}; only skills are put together whose critics "
                "observe what their policy does, and numbers alone"
            )
    saved = load_checkpoint(find_checkpoint(run, source.checkpoint))
    task = config.make_task()
    learner = make_learner(config.algorithm, task, config.algorithm_settings, config.seed)
    learner.load_state(saved.part("learner"))
    training = {"steps": saved.part("trainer").values["step"], "seed": config.seed, "command": saved_command(run)}
    return Loaded(source, learner, task, _replay(run, saved.part("replay")), config.algorithm_settings, training)


def _replay(run: Path, state: Any) -> Replay | None:
    values = state.values
    if not values.get("segments"):
        return None
    terms = values.get("terms", [])  # named since replays can keep them
    replay = Replay(values["capacity"], values["observation_size"], values["action_size"], terms=terms)
    try:
        replay.load_from(run / "replay", state)
    except StorageError:
        return None
    return replay


def observations(replay: Replay | None, count: int) -> np.ndarray | None:
    """Some raw observations of a replay, (count, O)."""
    return None if replay is None else replay.sample(count).observation


def union_of(replays: Sequence[Replay | None], what: str) -> Callable[[int], Batch]:
    """Draws transitions from all replays in equal parts; `what` is learnt from them, for the message.

    Raises:
        ConfigurationError: there is none.
    """
    known = [replay for replay in replays if replay is not None]
    if not known:
        raise ConfigurationError(f"{what} is learnt from the skills' replay, and none of them has one")
    return lambda count: from_all(known, count)


def check_experience(loaded: Sequence[Loaded]) -> None:
    """Refuses skills that cannot learn from each other's replay, for `share_experience` and `learn_together`.

    Raises:
        ConfigurationError: a replay is missing or holds no values of reward terms, or these differ.
    """
    check_sharing([one.source.name for one in loaded], [one.task for one in loaded], [one.replay for one in loaded])


def share_experience(loaded: Sequence[Loaded], updates: int, say: Callable[[str], None]) -> None:
    """Lets every skill's learner learn from the experience of all, in place; see `policies.sharing`.

    Raises:
        ConfigurationError: see `check_experience`.
    """
    check_experience(loaded)
    tasks, replays = [one.task for one in loaded], [one.replay for one in loaded]
    say(f"every skill learns from the experience of all, {updates:,} updates each")
    known = [replay for replay in replays if replay is not None]
    learners = [one.learner for one in loaded]
    share(learners, tasks, known, updates, progress=lambda k, found: say(f"  {k:>7,}  {found['critic_loss']:.4g}"))


def learn(
    skills: Sequence[Skill],
    replays: Sequence[Replay | None],
    settings: CorrectionSettings,
    progress: Callable[[int, float], None],
) -> Correction:
    """A divergence correction from the union of the replays."""
    sample = union_of(replays, "a divergence correction")
    return learn_correction(ComposedQ(skills), sample, settings, progress=progress)


def learn_together(
    loaded: Sequence[Loaded], settings: JointSettings, say: Callable[[str], None]
) -> Joint:
    """What the skills are worth together, for all weights, from the union of the replays; see `policies.joint`.

    Raises:
        ConfigurationError: see `check_experience`.
    """
    check_experience(loaded)
    tasks, replays = [one.task for one in loaded], [one.replay for one in loaded]
    sample = paid_to_all(tasks, [replay for replay in replays if replay is not None])
    say(f"learning what the skills are worth together from their replay, {settings.updates:,} updates")
    composed = ComposedQ([one.skill() for one in loaded])
    return learn_joint(composed, sample, settings, lambda update, loss: say(f"  {update:>7,}  {loss:.4g}"))


def candidates(composed: ComposedQ, points: int, draws: int, refine: int) -> CandidateSettings:
    """What a composition chooses among; takes what its command line and its file say.

    Raises:
        ConfigurationError: there are too few, or the skills have no use for points.
    """
    if composed.energies and points != POINTS:
        raise ConfigurationError(
            f"--points is for Gaussian skills; those of {composed.skills[0].algorithm!r} choose among their own "
            "candidates"
        )
    return CandidateSettings.make(len(composed.skills), composed.action_size, points, draws, refinement=refine)


def new_policy(
    composition: Composition, skills: Sequence[Skill], correction: Correction | None, joint: Joint | None = None
) -> CandidatePolicy:
    """The policy of a composition."""
    composed = ComposedQ(skills, composition.kind, correction, joint)
    return CandidatePolicy(composed, candidates(composed, composition.points, composition.draws, composition.refine))


def distil_policy(
    policy: CandidatePolicy,
    composition: Composition,
    replays: Sequence[Replay | None],
    steps: int,
    out: Path,
    say: Callable[[str], None],
) -> ExportReport:
    """Fits one plain actor to a composed policy at its weights, and writes it as a plain policy file.

    Raises:
        ConfigurationError: no skill has a replay.
        CheckFailed: torch and the file differ.
    """
    settings = DistillationSettings(steps=steps, hidden_sizes=widest(policy.composed.skills))
    weights, temperature = composition.weights, composition.temperature
    distilled = distil(
        policy.composed,
        union_of(replays, "a distilled actor"),
        temperature,
        weights,
        settings,
        lambda step, loss: say(f"  {step:>7,}  {loss:.4g}"),
    )
    skills = policy.composed.skills
    training = {"distilled_from": [asdict(source) for source in composition.skills], "weights": list(weights)}
    return export_policy(distilled, skills[0].task, out, training=training, goal_ranges=goal_ranges(skills))


def widest(skills: Sequence[Skill]) -> tuple[int, ...]:
    """The hidden widths of the largest of the skills' actors."""
    return max((skill_sizes(skill)[1:-1] for skill in skills), key=sum)


def save(
    folder: Path,
    composition: Composition,
    skills: Sequence[Skill],
    correction: Correction | None,
    joint: Joint | None,
    report: dict[str, Any],
) -> None:
    """Writes the folder, without the policy file."""
    files = {COMPOSITION: to_json(asdict(composition)), REPORT: to_json(report)}
    for name, module in ((CORRECTION, None if correction is None else correction.critics), (JOINT, joint)):
        if module is not None:
            tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
            files[name] = safetensors.torch.save(tensors)
    if composition.shared_updates:
        files[SHARED] = safetensors.torch.save(_weights_of(skills))
    place_folder(folder, files)


def _weights_of(skills: Sequence[Skill]) -> dict[str, Tensor]:
    """All that sharing changes of the skills, by name; tensors that are one in memory are copied."""
    found = {}
    for index, skill in enumerate(skills):
        found[f"{index}.alpha"] = torch.tensor(skill.alpha, dtype=torch.float64)
        for part in ("actor", "critics"):
            for name, tensor in getattr(skill, part).state_dict().items():
                found[f"{index}.{part}.{name}"] = tensor.clone(memory_format=torch.contiguous_format)
    return found


def _with_shared(folder: Path, skills: Sequence[Skill]) -> list[Skill]:
    """The skills as sharing left them."""
    try:
        found = safetensors.torch.load((folder / SHARED).read_bytes())
        for index, skill in enumerate(skills):
            for part in ("actor", "critics"):
                start = f"{index}.{part}."
                own = {name.removeprefix(start): found[name] for name in found if name.startswith(start)}
                getattr(skill, part).load_state_dict(own)
        return [replace(skill, alpha=float(found[f"{index}.alpha"])) for index, skill in enumerate(skills)]
    except (OSError, RuntimeError, KeyError, safetensors.SafetensorError) as error:
        raise StorageError(f"{folder / SHARED} is damaged: {error}") from error


def load_composition(folder: Path) -> tuple[CandidatePolicy, Composition]:
    """The policy of a folder, from the runs that it names.

    Raises:
        ConfigurationError: a run that it needs is gone.
        StorageError: a file is damaged.
    """
    composition = Composition.read(folder)
    skills = [load_skill(source).skill() for source in composition.skills]
    if composition.shared_updates:
        skills = _with_shared(folder, skills)
    return new_policy(composition, skills, *_read_learnt(folder, composition, skills)), composition


def export_composition(folder: Path, out: Path, policy: CandidatePolicy | None = None) -> ExportReport:
    """Writes the policy file of a folder.

    Args:
        folder: of the composition.
        out: of the file.
        policy: of the folder, where it is at hand; read from the runs by default.

    Raises:
        ConfigurationError: a run that it needs is gone.
        CheckFailed: torch and the file differ.
    """
    if policy is None:
        policy, composition = load_composition(folder)
    else:
        composition = Composition.read(folder)
    report = json.loads((folder / REPORT).read_bytes()) if (folder / REPORT).is_file() else {}
    training = {"skills": [asdict(source) for source in composition.skills]}
    return export_composed(
        policy, out, weights=composition.weights, temperature=composition.temperature, training=training, report=report
    )


def _read_learnt(
    folder: Path, composition: Composition, skills: Sequence[Skill]
) -> tuple[Correction | None, Joint | None]:
    """Correction and joint policy, where there are any."""
    correction = joint = None
    if composition.correction is not None:
        settings = from_mapping(CorrectionSettings, composition.correction, "correction")
        task = skills[0].task
        sizes = (task.layout.size, len(skills), task.spec.action.size)
        correction = Correction.new(*sizes, settings.hidden_sizes, settings.seed)
        _load(correction.critics, folder / CORRECTION)
    if composition.joint is not None:
        joint = Joint(skills[0], len(skills))
        _load(joint, folder / JOINT)
    return correction, joint


def _load(module: torch.nn.Module, path: Path) -> None:
    try:
        module.load_state_dict(safetensors.torch.load(path.read_bytes()))
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error
    module.requires_grad_(False)
