"""What each way to act on a composed Q earns in simulation, in torch, without any of it being trained.

    python benchmarks/composed_samplers.py runs/composed-go2/... [--episodes 2] [--seconds 10] [--weights .5 .5]

More Q is not more return: the report of `robot-rl compose` says what Q a sampler finds, this says what comes of it.
`sampled` rows take the sampler's draw instead of the best action that it found.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from policies.samplers import Sampler, samplers  # noqa: E402
from robot_rl.commands import composing  # noqa: E402
from robot_rl.evaluation import evaluate  # noqa: E402
from robot_rl.make import make_env  # noqa: E402


def rows(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return and length of episodes for each sampler, best action and draw."""
    policy, composition = composing.load_composition(arguments.folder)
    composed = policy.composed
    task = composed.skills[0].task
    weights = composed.weights(arguments.weights or composition.weights)
    found = {}
    for name, sampler in samplers(composed).items():
        if name in arguments.leave_out:
            continue
        for kind in ("best", "sampled"):
            env = make_env(task.spec, task, time_limit=arguments.seconds)
            act = actor(sampler, weights, composition.temperature, kind)
            result = evaluate(env, act, arguments.episodes)
            env.close()
            summary = result.summary()
            label = name if kind == "best" else f"{name}, sampled"
            found[label] = {
                "return": summary["return"],
                "return_std": summary["return_std"],
                "to_the_end": result.completed,
                "episodes": len(result.episodes),
                "ms": 1e3 * result.latency["p50"],
            }
            print(f"{label:<20} {json.dumps(found[label])}", file=sys.stderr)
    return found


def actor(sampler: Sampler, weights: Any, temperature: float, kind: str) -> Any:
    """The sampler as `evaluate` takes a policy."""

    def act(observation: np.ndarray) -> np.ndarray:
        answer = sampler(np.asarray(observation, dtype=np.float32)[None], weights, temperature)
        return (answer.action if kind == "best" else answer.sampled_action)[0].numpy()

    return act


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="What each way to act on a composed Q earns in simulation.")
    parser.add_argument("folder", type=Path, help="of `robot-rl compose`; its runs must still be there")
    parser.add_argument("--episodes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of an episode")
    parser.add_argument("--weights", type=float, nargs="+", help="the folder's by default")
    parser.add_argument("--leave-out", nargs="+", default=["reference"], help="samplers to skip")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = rows(arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    for label, row in found.items():
        print(
            f"{label:<20} return {row['return']:8.1f} +- {row['return_std']:6.1f}   "
            f"{row['to_the_end']} of {row['episodes']} to the end   {row['ms']:.1f} ms"
        )


if __name__ == "__main__":
    main()
