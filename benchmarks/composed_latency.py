"""How long a composed policy takes to answer on one thread, for N skills of 2 x 256 and 64 candidates.

    python benchmarks/composed_latency.py [FILE.onnx] [--skills 3] [--refine 0] [--calls 5000] [--json]

Without a file the skills are go2 walking networks with random weights. The weights change at every call, as they do
while an operator turns them. Each figure is the best of several rounds, because other work on the machine only ever
adds time; every round is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from policies.composed_runtime import ComposedPolicy  # noqa: E402

TARGET_P50, TARGET_P99 = 1000.0, 2000.0


def random_policy(folder: Path, skills: int, steps: int) -> Path:
    """Exports a composition of go2 walking networks with random weights; needs torch and onnx."""
    from policies.candidates import CandidatePolicy, CandidateSettings
    from policies.composed_export import export_composed
    from policies.composed_q import ComposedQ
    from policies.skills import Skill
    from robot_rl.algorithms.sac import SAC
    from robot_rl.spec_file import load_robot
    from robot_rl.tasks.walk import Walk
    from robot_rl.training.normalizer import Normalizer

    task = Walk(load_robot("go2"))
    normalizer = Normalizer(task.layout.offset, task.layout.scale)
    learners = [SAC(task.layout.size, task.spec.action.size, None, seed, normalizer) for seed in range(skills)]
    found = [Skill.of_learner(learner, task, f"skill {index}") for index, learner in enumerate(learners)]
    path = folder / "composed.onnx"
    settings = CandidateSettings.make(skills, task.spec.action.size, refinement=steps)
    export_composed(CandidatePolicy(ComposedQ(found), settings), path, name=f"{skills} skills, random weights")
    return path


def latencies(policy: ComposedPolicy, calls: int, rounds: int) -> list[np.ndarray]:
    """Percentiles p50, p95, p99 and the maximum of one answer, (4,) in microseconds, for each round."""
    rng = np.random.default_rng(0)
    normalizer = policy.contract.normalizer
    noise = rng.standard_normal((256, len(normalizer.offset)))
    rows = list((normalizer.offset + np.array(normalizer.scale) * noise).astype(np.float32))
    weights = list(rng.dirichlet(np.ones(len(policy.skills)), 256))
    taken, clock, found = np.empty(calls), time.perf_counter_ns, []
    for _ in range(rounds):
        for row in rows:
            policy.answer(row)
        for index in range(calls):
            policy.use(weights[index & 255])
            start = clock()
            policy.answer(rows[index & 255])
            taken[index] = clock() - start
        found.append(np.array([*np.percentile(taken, [50, 95, 99]), taken.max()]) / 1e3)
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Latency of a composed policy file on one thread.")
    parser.add_argument("file", nargs="?", type=Path, help="composed policy file; random skills by default")
    parser.add_argument("--skills", type=int, default=3, help="how many, where no file is given")
    parser.add_argument("--refine", type=int, default=0, help="steps up the gradient of Q, where no file is given")
    parser.add_argument("--calls", type=int, default=3000, help="calls per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or random_policy(Path(folder), arguments.skills, arguments.refine)
        policy = ComposedPolicy.load(path)
        size = path.stat().st_size
    rounds = latencies(policy, arguments.calls, arguments.rounds)
    best = min(rounds, key=lambda figures: figures[2])
    part = policy.composition
    result = {
        "policy": policy.contract.name,
        "skills": len(part.skills),
        "actor": list(part.skills[0].sizes),
        "candidates": part.points + part.draws,
        "bytes": size,
        "p50_us": round(float(min(figures[0] for figures in rounds)), 1),
        "p95_us": round(float(best[1]), 1),
        "p99_us": round(float(best[2]), 1),
        "max_us": round(float(best[3]), 1),
        "p50_us_by_round": [round(float(figures[0])) for figures in rounds],
        "p99_us_by_round": [round(float(figures[2])) for figures in rounds],
    }
    if arguments.json:
        print(json.dumps(result))
        return
    shape = "-".join(map(str, part.skills[0].sizes))
    print(f"{result['policy']}: {result['skills']} x {shape}, {result['candidates']} candidates, {size / 1e3:.0f} kB")
    print(f"  one answer, one thread, best of {arguments.rounds} rounds of {arguments.calls} calls")
    print(f"    p50 {result['p50_us']:7.1f} us   target {TARGET_P50:g}   by round {result['p50_us_by_round']}")
    print(f"    p95 {result['p95_us']:7.1f} us")
    print(f"    p99 {result['p99_us']:7.1f} us   target {TARGET_P99:g}   by round {result['p99_us_by_round']}")
    print(f"    max {result['max_us']:7.1f} us")


if __name__ == "__main__":
    main()
