"""What the Gymnasium adapter of the dm_control suite costs beside the suite's own environments.

    python benchmarks/suite_overhead.py [--task quadruped-walk ...] [--steps 4000] [--json]

One environment is stepped through the adapter and past it, in turns of a few steps, so that whatever else the machine
does slows both, and both simulate alike; the figure is the median of the ratios of the turns. The suite's own `step`
gives a dictionary of float64 parts, the adapter's one float32 vector.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from robot_rl.make import make_suite_env  # noqa: E402

TASKS = ["cartpole-balance", "walker-walk", "cheetah-run", "quadruped-walk"]
TARGET = 1.10
TURN = 4
"""Steps of one environment before it is the other's turn."""


def measured(name: str, steps: int) -> dict[str, float]:
    """us per step of both, and the median ratio."""
    env = make_suite_env(f"dm_control/{name}")
    bare = env.suite_env
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(max(1, steps // TURN)):
        assert isinstance(env.action_space, gymnasium.spaces.Box)
        low, high = env.action_space.low, env.action_space.high
        actions = rng.uniform(low, high, (TURN, *low.shape)).astype(np.float32)
        # Who goes first changes, too.
        for which in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            if which == 0:
                over = [env.step(action)[3] for action in actions]
            else:
                over = [bare.step(action).last() for action in actions]
            times[which].append(time.perf_counter() - began)
            if any(over):
                env.reset()
    adapter, own = np.array(times[0]), np.array(times[1])
    env.close()
    return {
        "adapter_us": 1e6 * float(np.median(adapter)) / TURN,
        "suite_us": 1e6 * float(np.median(own)) / TURN,
        "ratio": float(np.median(adapter / own)),
    }


def main() -> int:
    """Reads the command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", nargs="+", default=TASKS, help=f"DOMAIN-TASK [{' '.join(TASKS)}]")
    parser.add_argument("--steps", type=int, default=4000, help="of each environment [4000]")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    arguments = parser.parse_args()
    results = {name: measured(name, arguments.steps) for name in arguments.task}
    if arguments.json:
        print(json.dumps(results))
        return 0
    for name, found in results.items():
        missed = "" if found["ratio"] <= TARGET else f"   missed: {TARGET:g}"
        print(
            f"{name:18s} adapter {found['adapter_us']:6.1f} us   suite {found['suite_us']:6.1f} us   "
            f"ratio {found['ratio']:.3f}{missed}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
