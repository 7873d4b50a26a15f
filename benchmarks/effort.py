"""How hard a composed hand works, and how near it brings the valve, over the weights of its two skills.

    python benchmarks/composed_vs_trained.py --problem dclaw --seed 0 --out composed
    python benchmarks/effort.py composed/turn_valve-dclaw_s0_10000

One skill turns a valve to a goal whatever it costs, the other spares effort whatever the valve does. For each of 11
weights of the second one, from 0 to 1, the composed policy plays some episodes. The effort is its root mean square as a
share of the joints' limits; beside it stands the angle left at the end. What the skills are worth together is learnt
first (`--joint`), as `robot-rl compose --joint` does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from knob import SAMPLERS, composition, over_weights

from robot_rl.commands.configuration import saved_config
from robot_rl.make import make_env

SKILLS = ("turn", "calm")


def efforts(folder: Path, sampler: str, together: int, episodes: int, count: int) -> list[dict[str, Any]]:
    """One line for each weight.

    Args:
        folder: holds the runs of both skills.
        sampler: a way to act, one of `knob.SAMPLERS`.
        together: updates of what both are worth together; 0 for none.
        episodes: for each weight.
        count: of the weights.
    """
    composed = composition(folder, SKILLS, 0, together)
    config = saved_config(folder / SKILLS[0])
    env = make_env(config.spec(), "turn_valve", {**config.task_settings, "aim": "turn"})
    lines = []
    for calm, found in over_weights(composed, sampler, env, episodes, count):
        errors = [episode.figures["final_angle_error_rad"] for episode in found.episodes]
        lines.append(
            {
                "weight_of_calm": calm,
                "effort_share": found.mean("effort_share"),
                "final_angle_error_rad": float(np.mean(errors)),
                "median_angle_error_rad": float(np.median(errors)),
                "successes": found.successes,
                "episodes": episodes,
            }
        )
        print(json.dumps(lines[-1]), flush=True)
    env.close()
    return lines


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown, and whether effort and accuracy follow the weights."""
    rows = [
        "| weight of calm | effort, share of the limits | angle left, rad: mean, median | within 0.25 rad |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {line['weight_of_calm']:g} | {line['effort_share']:.3f} "
        f"| {line['final_angle_error_rad']:.2f}, {line['median_angle_error_rad']:.2f} "
        f"| {line['successes']} of {line['episodes']} |"
        for line in lines
    ]
    steps = {
        "effort falls": -np.diff([line["effort_share"] for line in lines]),
        "angle left grows": np.diff([line["final_angle_error_rad"] for line in lines]),
    }
    said = [f"{what}: {(size > 0).sum()} of {len(size)} steps" for what, size in steps.items()]
    return "\n".join([*rows, "", "; ".join(said)])


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the runs `turn` and `calm`")
    parser.add_argument("--sampler", choices=SAMPLERS, default="points", help="way to act")
    parser.add_argument("--joint", type=int, default=20_000, metavar="UPDATES", help="of both together, 0 for none")
    parser.add_argument("--episodes", type=int, default=20, help="for each weight")
    parser.add_argument("--weights", type=int, default=11, help="how many, from 0 to 1")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(table(efforts(given.folder, given.sampler, given.joint, given.episodes, given.weights)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
