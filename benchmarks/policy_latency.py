"""How long a policy takes to answer, and how long its runtime takes to import and to load.

    python benchmarks/policy_latency.py [FILE.onnx] [--calls 50000] [--json]

Without a file it takes the shipped go2-walk, or a network of the same size with random weights where none is shipped.
Each figure is the best of several rounds, because other work on the machine only ever adds time; every round is
printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from policies.runtime import OnnxPolicy  # noqa: E402

SHIPPED = ROOT / "policies" / "trained" / "go2-walk.onnx"
TARGET_P50, TARGET_P99, TARGET_IMPORT = 25.0, 60.0, 150.0

IMPORT = """
import time
start = time.perf_counter()
import policies.runtime
print(time.perf_counter() - start)
"""


def random_policy(folder: Path) -> Path:
    """Exports a go2 walking network with random weights; needs torch and onnx."""
    from policies.export import export_policy
    from robot_rl.algorithms.sac import SAC
    from robot_rl.spec_file import load_robot
    from robot_rl.tasks.walk import Walk
    from robot_rl.training.normalizer import Normalizer

    task = Walk(load_robot("go2"))
    normalizer = Normalizer(task.layout.offset, task.layout.scale)
    learner = SAC(task.layout.size, task.spec.action.size, normalizer=normalizer)
    return Path(export_policy(learner, task, folder / "random.onnx", name="go2-walk, random weights").path)


def latencies(policy: OnnxPolicy, calls: int, rounds: int) -> list[np.ndarray]:
    """Percentiles p50, p95, p99 and the maximum of `act`, (4,) in microseconds, for each round."""
    rng = np.random.default_rng(0)
    offset, scale = policy.contract.normalizer.offset, policy.contract.normalizer.scale
    observations = (offset + np.array(scale) * rng.standard_normal((256, len(offset)))).astype(np.float32)
    rows, act, clock = list(observations), policy.act, time.perf_counter_ns
    taken = np.empty(calls)
    found = []
    for _ in range(rounds):
        for row in rows:
            act(row)
        for index in range(calls):
            row = rows[index & 255]
            start = clock()
            act(row)
            taken[index] = clock() - start
        found.append(np.array([*np.percentile(taken, [50, 95, 99]), taken.max()]) / 1e3)
    return found


def import_times(rounds: int) -> list[float]:
    """ms that `import policies.runtime` takes in fresh processes, compiled beforehand as an installed package is."""
    command = [sys.executable, "-c", IMPORT]
    with tempfile.TemporaryDirectory() as cache:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = cache
        runs = [
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            for _ in range(rounds + 1)
        ]
    return [1e3 * float(run.stdout) for run in runs[1:]]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Latency of a policy file on one thread.")
    parser.add_argument("file", nargs="?", type=Path, help="policy file; the shipped go2-walk by default")
    parser.add_argument("--calls", type=int, default=20_000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or (SHIPPED if SHIPPED.exists() else random_policy(Path(folder)))
        start = time.perf_counter()
        policy = OnnxPolicy.load(path)
        load = 1e3 * (time.perf_counter() - start)
        size = path.stat().st_size
    imports = import_times(arguments.rounds)
    rounds = latencies(policy, arguments.calls, arguments.rounds)
    best = min(rounds, key=lambda figures: figures[2])
    result = {
        "policy": policy.contract.name,
        "network": list(policy.contract.network.sizes),
        "bytes": size,
        "p50_us": round(float(min(figures[0] for figures in rounds)), 2),
        "p95_us": round(float(best[1]), 2),
        "p99_us": round(float(best[2]), 2),
        "max_us": round(float(best[3]), 2),
        "p50_us_by_round": [round(float(figures[0]), 1) for figures in rounds],
        "p99_us_by_round": [round(float(figures[2]), 1) for figures in rounds],
        "load_ms": round(load, 1),
        "import_ms": round(float(min(imports)), 1),
        "import_ms_median": round(float(np.median(imports)), 1),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{result['policy']}: {'-'.join(map(str, policy.contract.network.sizes))}, {size / 1e3:.0f} kB")
    print(f"  act, one thread, best of {arguments.rounds} rounds of {arguments.calls} calls")
    print(f"    p50 {result['p50_us']:6.1f} us   target {TARGET_P50:g}   by round {result['p50_us_by_round']}")
    print(f"    p95 {result['p95_us']:6.1f} us")
    print(f"    p99 {result['p99_us']:6.1f} us   target {TARGET_P99:g}   by round {result['p99_us_by_round']}")
    print(f"    max {result['max_us']:6.1f} us")
    print(f"  load with all checks {load:.0f} ms, ONNX Runtime's own import included")
    best_import, median = result["import_ms"], result["import_ms_median"]
    print(f"  import policies.runtime {best_import:.0f} ms (median {median:.0f})   target {TARGET_IMPORT:g}")


if __name__ == "__main__":
    main()
