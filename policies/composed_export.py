"""Turns a composed policy into one ONNX file that carries its contract, after comparing it with torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.candidates import CandidatePolicy, Ranked, ranked
from policies.composed_graph import composed_graph, skill_sizes
from policies.composed_q import ComposedQ
from policies.composed_runtime import ComposedPolicy, checked_temperature
from policies.contract import (
    COMPOSED_FORMAT,
    ComposedGolden,
    CompositionPart,
    Contract,
    Golden,
    Network,
    NormalizerPart,
    SkillPart,
    seal,
    unseal,
)
from policies.export import (
    GOLDEN_SLACK,
    ExportReport,
    LimitedCommand,
    action_part,
    floats,
    plain,
    robot_part,
    short,
    task_part,
    test_observations,
)
from policies.graph import OPSET
from policies.refinement import refine
from policies.skills import Skill, goal_ranges
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.errors import CheckFailed, PolicyError
from robot_rl.training.files import replace_file
from robot_rl.training.run import versions

Array = NDArray[np.floating]

TOLERANCE = 1e-4
"""Largest difference between an action of the file and of torch."""
SLACK = 8.0
"""Times torch's own distance from float64, where that is more."""
OBSERVATIONS = 1_000
BLOCK = 50
"""Observations that are compared at the same weights and temperature."""
FACTORS = (1.0, 0.5, 2.0)
"""Of the temperature."""
GOLDEN_ROWS = 8
GOLDEN_BLOCK, GOLDEN_TRIED = 10, 300
"""Observations of which one may become such a row, and how many are tried at most."""
NEIGHBOURS, NEARBY = 8, 1e-5
"""How many places around a point are refined beside it while comparing, and how far they are before the tanh."""


def export_composed(
    policy: CandidatePolicy,
    path: str | Path,
    name: str | None = None,
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    training: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
    observations: Array | None = None,
) -> ExportReport:
    """Writes a composed policy as one ONNX file, after comparing it with torch.

    Args:
        policy: what is written.
        path: of the file; an old one is replaced only by a whole and checked new one.
        name: of the policy; ROBOT-SKILL+SKILL by default.
        weights: in use where none are given at run time; all alike by default.
        temperature: the same, reward units per nat; the composition's own by default.
        training: what a reader may want to know of how it was made.
        report: of `policies.composition_report`.
        observations: (M, size) raw ones of the skills' replay, to compare on beside synthetic ones.

    Raises:
        CheckFailed: torch and the file differ, see `check_composed`.
        InvalidInput: the weights or the temperature are none.
        StorageError: the disk is full or not writable; an old file is untouched.
    """
    composed, settings = policy.composed, policy.settings
    chosen = skill_weights(weights, len(composed.skills))
    temperature = checked_temperature(composed.alpha if temperature is None else temperature)
    first = composed.skills[0]
    spec, layout = first.task.spec, first.task.layout
    reference = TorchComposed(policy)
    tests = test_observations(first.normalizer, observations)
    tests = tests[np.random.default_rng(3).permutation(len(tests))[:OBSERVATIONS]]
    golden, more = _golden(reference, tests, chosen, temperature)
    contract = Contract(
        name=name or f"{spec.name}-{'+'.join(skill.name for skill in composed.skills)}",
        robot=robot_part(spec),
        action=action_part(first.task),
        observation=layout,
        task=task_part(first.task, goal_ranges(composed.skills)),
        normalizer=_normalizer(first),
        network=_network(composed),
        algorithm=first.algorithm,
        settings=plain(first.settings),
        training=plain(training or {}),
        versions={**versions(), "onnx": onnx.__version__, "onnxruntime": metadata.version("onnxruntime")},
        golden=golden,
        format=COMPOSED_FORMAT,
        composition=CompositionPart(
            kind=composed.kind,
            corrected=composed.correction is not None,
            joint=composed.joint is not None,
            skills=tuple(_skill_part(skill) for skill in composed.skills),
            weights=floats(chosen),
            temperature=temperature,
            alpha=composed.alpha,
            points=policy.points,
            draws=len(settings.noise),
            report=plain(report or {}),
            golden=more,
            refinement=settings.refinement,
        ),
    )
    content = seal(composed_graph(policy, composed.weights(chosen), temperature), contract)
    max_error, rounding = check_composed(reference, content, tests, _weights_to_check(chosen), temperature)
    path = Path(path)
    replace_file(path, content)
    return ExportReport(str(path), len(content), max_error, rounding, len(tests), unseal(content)[1].graph_sha256)


class TorchComposed:
    """The composed policy's own answer in torch, in float32 and in float64."""

    def __init__(self, policy: CandidatePolicy) -> None:
        """Args: policy: whose answers."""
        self.policy = policy
        self.command = LimitedCommand(policy.composed.skills[0].task)
        self._exact = _double(policy)

    @torch.no_grad()
    def __call__(self, observation: Array, weights: Tensor, temperature: float, noise: Tensor | None = None) -> Ranked:
        """All candidates with what they are chosen by."""
        return ranked(self.policy.composed, self.policy.settings, observation, weights, temperature, noise)

    @torch.no_grad()
    def exact(self, observation: Array, weights: Tensor, temperature: float, noise: Tensor | None = None) -> Ranked:
        """The same in float64."""
        noise = None if noise is None else noise.double()
        composed, settings = self._exact.composed, self._exact.settings
        return ranked(composed, settings, observation, weights.double(), temperature, noise)

    @torch.no_grad()
    def refined(self, observation: Array, found: Ranked, index: Tensor, weights: Tensor, temperature: float) -> Tensor:
        """Some points after their steps up the gradient, as actions, (B, J V, d).

        A network of ReLUs has a gradient that jumps. Where float32 cannot say on which side of a jump a point lies,
        either is right, so each point is refined from where it is and from places as near as rounding.

        Args:
            observation: raw, (B, size).
            found: its candidates.
            index: which points, (B, J).
            weights: (N,).
            temperature: reward units per nat.
        """
        composed = self.policy.composed
        u = torch.take_along_dim(found.points_u, index[..., None], dim=1)[:, :, None]  # (B, J, 1, d)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(*u.shape[:2], NEIGHBOURS, u.shape[-1], generator=generator)
        start = torch.cat([u, u + NEARBY * noise], dim=2).flatten(1, 2)  # (B, J V, d)
        seen, steps = composed.normalized(observation), self.policy.settings.refinement
        return torch.tanh(refine(composed, seen, start, found.scale, weights, temperature, steps))


def check_composed(
    reference: TorchComposed, content: bytes, observations: Array, weights: Sequence[Array], temperature: float
) -> tuple[float, float]:
    """Compares torch with a file over weights and temperatures: actions and commands, deterministic and sampled.

    Where float32 cannot say which of several candidates is best, the file may take any of those.

    Args:
        reference: torch's answer.
        content: of the file.
        observations: raw, (M, size).
        weights: those to compare at, (N,) each, one after the other for every block of observations.
        temperature: compared at, and at half and twice of it, reward units per nat.

    Returns:
        The largest difference of an action between torch and the file, and between torch in float32 and in float64.

    Raises:
        CheckFailed: a difference is larger than 1e-4 and than rounding can explain, or the file does not load.
    """
    try:
        policy = ComposedPolicy.from_bytes(content)
    except PolicyError as error:
        raise CheckFailed(f"the exported policy does not load: {error}") from error
    shape = (len(observations), *reference.policy.settings.noise.shape)
    noise = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    worst = rounding = 0.0
    for index, start in enumerate(range(0, len(observations), BLOCK)):
        given = weights[index % len(weights)]
        policy.weights, w = given, reference.policy.composed.weights(given)
        policy.temperature = temperature * FACTORS[index // len(weights) % len(FACTORS)]
        rows, draws = observations[start : start + BLOCK], noise[start : start + BLOCK]
        theirs = reference(rows, w, policy.temperature, torch.from_numpy(draws))
        exact = reference.exact(rows, w, policy.temperature, torch.from_numpy(draws))
        answers = {
            "action": (policy.answer(rows), theirs.points, exact.points, exact.points_q, theirs.points_q),
            "sampled action": (policy.answer(rows, draws), theirs.draws, exact.draws, exact.score, theirs.score),
        }
        for what, (answer, candidates, exact_candidates, score, rough) in answers.items():
            rounded = float((candidates - exact_candidates).abs().max())
            right = _near_best(score, rough, SLACK)  # (B, K)
            if what == "action" and reference.policy.settings.refinement:
                two = score.topk(min(2, score.shape[1]), dim=1).indices  # (B, 2)
                candidates = reference.refined(rows, theirs, two, w, policy.temperature)  # (B, 2 V, d)
                right = np.take_along_axis(right, two.numpy(), axis=1).repeat(1 + NEIGHBOURS, axis=1)
            away = np.abs(candidates.numpy() - answer.action[:, None]).max(axis=2)  # (B, K)
            gap = float(np.where(right, away, np.inf).min(axis=1).max())
            allowed = max(TOLERANCE, SLACK * rounded)
            command = float(np.abs(reference.command(answer.action, rows) - answer.command).max())
            if not max(gap, command) <= allowed:
                raise CheckFailed(
                    f"torch and ONNX differ: {what} by {gap:.3g}, command by {command:.3g}, allowed {allowed:.3g}, "
                    f"at weights {given.round(3).tolist()} and temperature {policy.temperature:g}"
                )
            worst, rounding = max(worst, gap, command), max(rounding, rounded)
    return worst, rounding


def _near_best(score: Tensor, rough: Tensor, slack: float) -> NDArray[np.bool_]:
    """Which candidates may be the best, (B, K), by exact scores (B, K), given how far the rough ones are from them."""
    error = (score - rough).abs().amax(dim=1, keepdim=True)
    return (score >= score.amax(dim=1, keepdim=True) - slack * error - 1e-9).numpy()


def _weights_to_check(chosen: Array) -> list[Array]:
    """The ones in the file, each skill alone, and three in between."""
    between = np.random.default_rng(4).dirichlet(np.ones(len(chosen)), 3)
    return [chosen, *np.eye(len(chosen)), *between]


def _golden(reference: TorchComposed, tests: Array, chosen: Array, temperature: float) -> tuple[Golden, ComposedGolden]:
    """Rows of which every choice is clear, at the weights in the file and at others."""
    rng = np.random.default_rng(2)
    everything, float32 = _weights_to_check(chosen), reference.policy.composed.weights
    rows: list[tuple[Array, Array, Array]] = []
    best: list[tuple[float, tuple[Array, Array, Array]]] = []
    tried = tests[:GOLDEN_TRIED]
    for block in np.split(tried, range(GOLDEN_BLOCK, len(tried), GOLDEN_BLOCK)):
        w = everything[len(rows) % len(everything)]
        noise = rng.standard_normal((len(block), *reference.policy.settings.noise.shape)).astype(np.float32)
        margin, rounded = _clarity(reference, block, float32(w), temperature, torch.from_numpy(noise))
        merit = torch.clamp(margin, max=GOLDEN_SLACK) - 1e6 * rounded  # (B,)
        first = int(merit.argmax())
        best.append((float(merit[first]), (block[first], noise[first], w)))
        clear = np.flatnonzero((margin > GOLDEN_SLACK) & (rounded < TOLERANCE / 10))
        if len(clear):
            rows.append((block[clear[0]], noise[clear[0]], w))
        if len(rows) == GOLDEN_ROWS:
            break
    if not rows:
        rows = [max(best, key=lambda item: item[0])[1]]
    choices = []
    for observation, noise, w in rows:
        choices.append(reference.policy(observation[None], float32(w), temperature, torch.from_numpy(noise[None])))
    stacked = [torch.cat(parts).numpy() for parts in zip(*choices, strict=True)]
    action, sampled, value, sampled_value, size, apart = stacked
    observation = np.stack([row[0] for row in rows])
    noise = np.stack([row[1].ravel() for row in rows])
    commands = reference.command(action, observation), reference.command(sampled, observation)
    golden = Golden(*map(short, (observation, noise, action, commands[0], sampled, commands[1])))
    figures = short(np.stack([value, sampled_value, size, apart]))
    return golden, ComposedGolden(tuple(floats(w) for _, _, w in rows), (temperature,) * len(rows), *figures)


def _clarity(
    reference: TorchComposed, observation: Array, weights: Tensor, temperature: float, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """How clear choices for observations (B, size) are, see `_margin`, and how far rounding moves them; (B,) each."""
    given = observation, weights, temperature, noise
    rough, exact = reference(*given), reference.exact(*given)
    margin = torch.minimum(
        _margin(exact.points_q, rough.points_q, exact.points), _margin(exact.score, rough.score, exact.draws)
    )
    rounded = (rough.points - exact.points).abs().amax(dim=(1, 2)) + (rough.draws - exact.draws).abs().amax(dim=(1, 2))
    if reference.policy.settings.refinement:
        best_point = rough.points_q.argmax(dim=1)[:, None]  # (B, 1)
        ways = reference.refined(observation, rough, best_point, weights, temperature)  # (B, V, d)
        rounded = rounded + (ways - ways[:, :1]).abs().amax(dim=(1, 2))
    return margin, rounded


def _margin(exact: Tensor, rough: Tensor, candidates: Tensor) -> Tensor:
    """By how many times its rounding the best of candidates (B, K, d) leads over any that is another action, (B,)."""
    error = (exact - rough).abs().amax(dim=1)  # (B,)
    top = exact.argmax(dim=1, keepdim=True)  # (B, 1)
    leader = torch.take_along_dim(candidates, top[..., None], dim=1)  # (B, 1, d)
    other = (candidates - leader).abs().amax(dim=-1) > TOLERANCE / 10  # (B, K)
    second = torch.where(other, exact, -torch.inf).amax(dim=1)  # (B,)
    return (exact.amax(dim=1) - second) / error.clamp(min=1e-12)


def _double(policy: CandidatePolicy) -> CandidatePolicy:
    """The same policy in float64, from the same float32 observations after the normaliser."""
    exact = copy.copy(policy.composed)
    exact.skills = tuple(
        replace(
            skill,
            actor=copy.deepcopy(skill.actor).double(),
            critics=copy.deepcopy(skill.critics).double(),
            normalizer=_Doubled(skill.normalizer),  # type: ignore[arg-type]
        )
        for skill in exact.skills
    )
    if exact.correction is not None:
        exact.correction = exact.correction.double()
    if exact.joint is not None:
        exact.joint = copy.deepcopy(exact.joint).double()
    share, noise, _ = policy.settings
    return CandidatePolicy(exact, policy.settings._replace(share=share.double(), noise=noise.double()))


class _Doubled:
    """A normaliser's float32 answer as float64."""

    def __init__(self, normalizer: Any) -> None:
        self._normalizer = normalizer

    def __call__(self, observation: Array) -> Array:
        return self._normalizer(observation).astype(np.float64)


def _normalizer(skill: Skill) -> NormalizerPart:
    ours = skill.normalizer
    return NormalizerPart(floats(ours.offset), floats(ours.scale), float(ours.clip))


def _skill_part(skill: Skill) -> SkillPart:
    return SkillPart(
        skill.name,
        task_part(skill.task, None),
        _normalizer(skill),
        skill.alpha,
        skill_sizes(skill),
        plain(skill.settings),
        plain(skill.training),
    )


def _network(composed: ComposedQ) -> Network:
    modules: list[Any] = [skill.critics for skill in composed.skills]
    # An energy-based actor holds the critics too.
    modules += [getattr(skill.actor, "sampler", skill.actor) for skill in composed.skills]
    if composed.correction is not None:
        modules.append(composed.correction.critics)
    parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
    return Network(skill_sizes(composed.skills[0]), parameters, OPSET)
