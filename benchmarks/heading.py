"""Where a composed walk goes, over the weights of its two skills.

    python benchmarks/composed_vs_trained.py --problem walk --seed 0 --steps 20000 --out composed
    python benchmarks/heading.py composed/walk-go2_s0_20000

The two skills walk forward and to the left. For each of 11 weights of the second one, from 0 to 1, the composed policy
walks some episodes; the heading is the direction of its mean velocity after the first second, in the base frame, 0
degrees straight on, 90 to the left. What the skills are worth together is learnt first (`--joint`), as
`robot-rl compose --joint` does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from knob import SAMPLERS, composition, over_weights

from robot_rl.commands.configuration import saved_config
from robot_rl.make import make_env

SKILLS = ("forward", "left")


def headings(
    folder: Path, sampler: str, updates: int, together: int, episodes: int, count: int
) -> list[dict[str, Any]]:
    """One line for each weight.

    Args:
        folder: holds the runs of both skills.
        sampler: a way to act, one of SAMPLERS.
        updates: of each skill from the experience of both; 0 for none.
        together: updates of what both are worth together; 0 for none.
        episodes: for each weight.
        count: of the weights.
    """
    composed = composition(folder, SKILLS, updates, together)
    config = saved_config(folder / SKILLS[0])
    env = make_env(config.spec(), "walk", {**config.task_settings, "pursue": "mean"})
    lines = []
    for left, found in over_weights(composed, sampler, env, episodes, count):
        ahead, aside = (
            np.array([episode.figures[name] for episode in found.episodes])
            for name in ("forward_velocity", "lateral_velocity")
        )
        each = np.degrees(np.arctan2(aside, ahead))
        lines.append(
            {
                "weight_of_left": left,
                "heading_degrees": float(np.degrees(np.arctan2(aside.mean(), ahead.mean()))),
                "spread_degrees": float(each.std()),
                "speed": float(np.hypot(ahead.mean(), aside.mean())),
                "completed": found.completed,
                "episodes": episodes,
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    env.close()
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown, and whether the heading follows the weights."""
    rows = ["| weight of left | heading, degrees | speed, m/s | upright |", "|---|---|---|---|"]
    rows += [
        f"| {line['weight_of_left']:g} | {line['heading_degrees']:.0f} +- {line['spread_degrees']:.0f} "
        f"| {line['speed']:.2f} | {line['completed']} of {line['episodes']} |"
        for line in lines
    ]
    back = int((np.diff([line["heading_degrees"] for line in lines]) <= 0).sum())
    return "\n".join([*rows, "", "monotone: yes" if not back else f"monotone: no, {back} turns back"])


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the runs `forward` and `left`")
    parser.add_argument("--sampler", choices=SAMPLERS, default="points", help="way to act")
    parser.add_argument("--share", type=int, default=0, metavar="UPDATES", help="of each skill, 0 for none")
    parser.add_argument("--joint", type=int, default=10_000, metavar="UPDATES", help="of both together, 0 for none")
    parser.add_argument("--episodes", type=int, default=5, help="for each weight")
    parser.add_argument("--weights", type=int, default=11, help="how many, from 0 to 1")
    given = parser.parse_args()
    print(table(headings(given.folder, given.sampler, given.share, given.joint, given.episodes, given.weights)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
