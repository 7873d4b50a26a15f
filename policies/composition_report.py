"""What can be said of a composition before it acts: how far its skills disagree, and how much their critics know.

The bound C of averaging is taken as if the skills disagreed everywhere as they do over their replay, so it orders
compositions and promises nothing of any one state. What the policy loses is less, and by how much nobody knows
beforehand; see docs/composition.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.candidates import CandidatePolicy, effective_sample_size, ranked
from policies.composed_q import ComposedQ, log_affinity
from policies.energy_candidates import particles
from policies.samplers import compare_samplers
from policies.skills import goals_apart

Array = NDArray[np.floating]

OBSERVATIONS = 500
"""Of each skill's replay that the report looks at."""
COMPARED = 32
"""Of those, on which the samplers are compared."""
NEAR_DETERMINISTIC = 0.05
"""A skill whose actions vary by less than this, of the two that they may, hardly leaves a choice to the others."""
LITTLE_OVERLAP = 0.2
"""Share of one skill's observations that lie where another's are; below it the other's critics are guessing."""
FEW = 2.0
"""Effective draws; with fewer the sampled action is mostly decided by one draw."""


def composition_report(
    policy: CandidatePolicy,
    weights: Sequence[float] | None,
    temperature: float,
    replays: Sequence[Array | None],
    compare: bool = True,
) -> dict[str, Any]:
    """Measures a composition over the replay of its skills.

    Args:
        policy: the composition.
        weights: (N,); None weighs all alike.
        temperature: reward units per nat.
        replays: raw observations (M, O) of each skill; None where there are none.
        compare: whether to compare samplers too, which takes the longest.

    Returns:
        JSON values; `warnings` are sentences for a person. Where no skill has a replay, little but warnings.
    """
    composed = policy.composed
    w = composed.weights(weights)
    names = [skill.name for skill in composed.skills]
    report: dict[str, Any] = {
        "skills": names,
        "kind": composed.kind,
        "corrected": composed.correction is not None,
        "weights": w.double().tolist() if weights is None else [float(x) for x in weights],
        "temperature": temperature,
        "alpha": dict(zip(names, composed.alphas, strict=True)),
        "observations": {name: 0 if rows is None else len(rows) for name, rows in zip(names, replays, strict=True)},
    }
    warnings = goals_apart(composed.skills) + [
        f"skill {name!r} has no replay: nothing is known of how it fits the others where it has been"
        for name, rows in zip(names, replays, strict=True)
        if rows is None or len(rows) == 0
    ]
    known = {name: _some(rows) for name, rows in zip(names, replays, strict=True) if rows is not None and len(rows)}
    if not known:
        return {**report, "warnings": warnings}
    union = np.concatenate(list(known.values()))
    with torch.no_grad():
        found = ranked(composed, policy.settings, union, w, temperature)
        seen = composed.normalized(union)
        std = _action_std(composed, seen)  # (N, B, d)
    size = effective_sample_size(found.log_weight)
    apart = found.disagreement
    discount = composed.skills[0].discount
    horizon = composed.alpha * discount / (1.0 - discount)
    report |= {
        "disagreement_nats": _summary(apart),
        "disagreement_of_pairs_nats": _pairs(policy, union, temperature),
        # C(s,a) = gamma E[alpha disagreement(s') + max C(s',a')]
        "bound": {"mean": horizon * float(apart.mean()), "high": horizon * float(torch.quantile(apart, 0.95))},
        "spread_of_q": float(found.draws_q.mean(dim=1).std()),
        "effective_sample_size": {**_summary(size), "draws": found.draws.shape[1]},
        "action_std": {name: float(part.median()) for name, part in zip(names, std, strict=True)},
        "overlap": _overlap(known, composed.skills[0].normalizer),
    }
    if composed.correction is not None:
        with torch.no_grad():
            amount = composed.alpha * composed.correction(seen[0], found.points[:, :1], w)
        report["correction"] = _summary(amount)
    if compare and not composed.energies:  # the table begins at the product's mean, which these have not
        rng = np.random.default_rng(5)
        some = union[rng.choice(len(union), min(COMPARED, len(union)), replace=False)]
        compared = compare_samplers(composed, some, w, temperature)
        report["samplers"] = {name: figures._asdict() for name, figures in compared.items()}
    return {**report, "warnings": warnings + _warnings(report)}


def _warnings(report: Mapping[str, Any]) -> list[str]:
    found = []
    for name, std in report["action_std"].items():
        if std < NEAR_DETERMINISTIC:
            found.append(
                f"skill {name!r} is nearly deterministic (its actions vary by {std:.3f}): it leaves the others little "
                "choice, and averaging is weak; train it with a higher target entropy"
            )
    for one, others in report["overlap"].items():
        for other, share in others.items():
            if share < LITTLE_OVERLAP:
                found.append(
                    f"the replay of {one!r} hardly overlaps that of {other!r} ({100 * share:.0f} % of it lies near): "
                    f"there the critics of {other!r} are guessing"
                )
    size = report["effective_sample_size"]
    if size["median"] < FEW:
        found.append(
            f"of {size['draws']} draws only {size['median']:.1f} count (median): sampled actions are decided by one or "
            "two draws; the deterministic action does not need them"
        )
    return found


@torch.no_grad()
def _pairs(policy: CandidatePolicy, union: Array, temperature: float) -> dict[str, float]:
    """-log of the integral of sqrt(pi_i pi_j) of every two skills, nats: half their Renyi divergence of order 1/2."""
    composed = policy.composed
    names = [skill.name for skill in composed.skills]
    apart = {}
    for i, j in combinations(range(len(names)), 2):
        half = torch.zeros(len(names))
        half[[i, j]] = 0.5
        if composed.energies:
            found = ranked(composed, policy.settings, union, half, temperature).disagreement
        else:
            found = -log_affinity(*composed.gaussians(composed.normalized(union)), half)
        apart[f"{names[i]} | {names[j]}"] = float(found.mean())
    return apart


def _action_std(composed: ComposedQ, seen: Sequence[Tensor]) -> Tensor:
    """Standard deviation of each entry of the skills' actions, (N, B, d)."""
    if composed.energies:
        return torch.tanh(particles(composed, seen)).std(dim=2, correction=0).movedim(1, 0)
    mean, log_std = composed.gaussians(seen)
    return log_std.exp() * (1.0 - torch.tanh(mean).square())  # to first order


def _overlap(known: Mapping[str, Array], normalizer: Any) -> dict[str, dict[str, float]]:
    """Which share of each skill's observations lies as near to another's as that one's lie to each other.

    Near is within the 95th percentile of the other's distances to its own nearest neighbour: two halves of one replay
    overlap by about 0.95. From a small replay some observations are drawn twice, at no distance from each other; each
    counts once.
    """
    rows = {name: torch.from_numpy(normalizer(np.unique(values, axis=0))).double() for name, values in known.items()}
    shares: dict[str, dict[str, float]] = {name: {} for name in rows}
    for other, theirs in rows.items():
        own = torch.cdist(theirs, theirs).fill_diagonal_(torch.inf).amin(dim=1)
        near = torch.quantile(own, 0.95)
        for name, ours in rows.items():
            if name != other:
                shares[name][other] = float((torch.cdist(ours, theirs).amin(dim=1) <= near).double().mean())
    return shares


def _some(rows: Array) -> Array:
    chosen = np.random.default_rng(0).choice(len(rows), min(OBSERVATIONS, len(rows)), replace=False)
    return np.asarray(rows, dtype=np.float32)[chosen]


def _summary(values: Tensor) -> dict[str, float]:
    values = values.flatten()
    low, middle, high = torch.quantile(values, torch.tensor([0.05, 0.5, 0.95], dtype=values.dtype)).tolist()
    return {"mean": float(values.mean()), "low": low, "median": middle, "high": high}
