"""How much a recorder delays a control loop, in a thread of the same process and in a process of its own.

    python benchmarks/recording_delay.py [--seconds 20]

A loop that does nothing but keep its rate, alone and with a recorder that takes every tick's observation, action,
command and goal, in turns; lateness is how long after its deadline a tick begins.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from hardware.recorder import Recorder
from hardware.recorder_process import RecorderProcess
from robot_rl.spec_file import load_robot
from robot_rl.timing import Rate

ROUNDS = 4


def run(rate: float, seconds: float, recorder: Recorder | RecorderProcess | None) -> tuple[np.ndarray, np.ndarray]:
    """Lateness of each tick, and what recording it took, s; (ticks,) each."""
    spec = load_robot("go2")
    observation, action, goal = np.zeros(90, dtype=np.float32), np.zeros(12), np.zeros(4)
    late, taken = [], []
    loop = Rate(1.0 / rate)
    if recorder is not None:
        recorder.begin_episode(goal, spec.home)
    loop.start()
    for tick in range(round(rate * seconds)):
        late.append(loop.wait())
        began = time.perf_counter()
        if recorder is not None:
            recorder.policy(observation, action, spec.home, goal, tick / rate)
        taken.append(time.perf_counter() - began)
    if recorder is not None:
        recorder.end_episode("time limit", seconds)
    return np.array(late), np.array(taken)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each way and rate [20]")
    seconds = parser.parse_args().seconds
    print(f"{'rate':>8}  {'recorder':>8}  {'late p50 us':>11}  {'p99 us':>8}  {'max us':>8}  {'call p50 us':>11}")
    for rate in (50.0, 500.0):
        with tempfile.TemporaryDirectory() as folder:
            spec = load_robot("go2")
            ways: dict[str, Recorder | RecorderProcess | None] = {
                "none": None,
                "thread": Recorder(Path(folder) / "thread", spec),
                "process": RecorderProcess(Path(folder) / "process", spec, topics=False),
            }
            found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in ways}
            for _ in range(ROUNDS):  # in turns, so that all meet the same machine
                for name, recorder in ways.items():
                    found[name].append(run(rate, seconds / ROUNDS, recorder))
            for recorder in ways.values():
                if recorder is not None:
                    recorder.close()
                    assert not recorder.fault, recorder.fault
                    assert not recorder.lost, recorder.lost
        for name, rounds in found.items():
            late, taken = (1e6 * np.concatenate(part) for part in zip(*rounds, strict=True))
            p50, p99 = np.percentile(late, [50, 99])
            call = f"{np.median(taken):11.1f}" if ways[name] else f"{'-':>11}"
            print(f"{rate:5g} Hz  {name:>8}  {p50:11.0f}  {p99:8.0f}  {late.max():8.0f}  {call}")


if __name__ == "__main__":
    main()
