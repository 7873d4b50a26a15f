"""Two skills put together, and what comes of it over their weights; for the benchmarks that turn the knob."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from policies.composed_q import ComposedQ
from policies.joint import JointSettings
from policies.samplers import CrossEntropySampler, ImportanceSampler, ProductSampler, Sampler
from robot_rl.commands.composing import learn_together, load_skill, share_experience, skill_sources
from robot_rl.env import RobotEnv
from robot_rl.evaluation import Evaluation, evaluate

SAMPLERS = {"points": ImportanceSampler, "product": ProductSampler, "cem": CrossEntropySampler}


def composition(folder: Path, names: Sequence[str], updates: int, together: int) -> ComposedQ:
    """The skills put together.

    Args:
        folder: holds their runs.
        names: of the skills, and of their runs.
        updates: of each skill from the experience of all; 0 for none.
        together: updates of what all are worth together; 0 for none.
    """

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    loaded = [load_skill(source) for source in skill_sources([str(folder / name) for name in names], names)]
    if updates:
        share_experience(loaded, updates, say)
    joint = learn_together(loaded, JointSettings(updates=together), say) if together else None
    return ComposedQ([one.skill() for one in loaded], joint=joint)


def over_weights(
    composed: ComposedQ, sampler: str, env: RobotEnv, episodes: int, count: int
) -> Iterator[tuple[float, Evaluation]]:
    """Plays with weights of the second skill from 0 to 1.

    Args:
        composed: two skills.
        sampler: a way to act, one of SAMPLERS.
        env: to play in.
        episodes: for each weight.
        count: of the weights.

    Yields:
        The weight, and what was played with it.
    """
    chosen: Sampler = SAMPLERS[sampler](composed)
    for second in np.linspace(0.0, 1.0, count):
        weights = torch.tensor([1.0 - second, second], dtype=torch.float32)

        def act(seen: NDArray[np.floating], weights: torch.Tensor = weights) -> NDArray[np.floating]:
            return chosen(seen[None], weights, composed.alpha).action[0].numpy()

        yield round(float(second), 3), evaluate(env, act, episodes)
