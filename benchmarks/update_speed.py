"""Updates per second of SAC: ours, Stable-Baselines3 and SBX (JAX) in turns, and the bound by matrix products alone.

    python benchmarks/update_speed.py
    python benchmarks/update_speed.py --size go2 --rounds 10 --sbx-python ~/sbx/bin/python --results speed.jsonl

Every contestant is a process of its own that waits while another has its turn, so what else the machine does slows all
alike, and the ratios, taken turn by turn, hold still. A process can be fast or slow from its start to its end, so
processes are started several times (`--starts`). Updates hold everything that a training run does for them, sampling
included. `bound` makes the matrix products of an update and nothing else.

Nothing is installed. Stable-Baselines3 and SBX are measured where they are: `--sb3-python` and `--sbx-python` say which
Python has them. A line of JSON per size is appended to `--results`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"halfcheetah": (17, 6), "go2": (48, 12), "large": (376, 17)}
TITLES = {
    "eager": "eager", "compiled": "compiled", "bfloat16": "compiled, bfloat16", "sb3": "Stable-Baselines3",
    "sbx": "SBX", "bound": "the float32 products alone",
}  # fmt: skip
OURS = ("eager", "compiled", "bfloat16")
OTHERS = ("sb3", "sbx")
BATCH, AT_ONCE = 256, 32


# -- the contestants, each in a process of its own --------------------------------------------------------------------


def ours(
    kind: str, observation_size: int, action_size: int, threads: int
) -> tuple[Callable[[int], Any], dict[str, str]]:
    """Our learner: as it stands, compiled, or compiled with bfloat16 products; or the products alone."""
    from robot_rl.threads import wait_briefly

    wait_briefly()  # as `robot-rl train` does
    import torch

    from robot_rl.algorithms.compiled import has_bfloat16
    from robot_rl.algorithms.sac import SAC, SACSettings
    from robot_rl.training import speed
    from robot_rl.training.memory import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()
    versions = {"torch": str(torch.__version__)}
    if kind == "bound":
        return speed.products(observation_size, action_size), versions
    if kind == "bfloat16" and not has_bfloat16():
        raise ModuleNotFoundError("this processor has no instructions for bfloat16")
    precision = "bfloat16" if kind == "bfloat16" else "float32"
    learner = SAC(observation_size, action_size, SACSettings(precision=precision))
    if kind != "eager":
        start = time.perf_counter()
        learner.compile(BATCH)
        versions["compiled in"] = f"{time.perf_counter() - start:.0f} s"
    return speed.updates(learner, speed.made_up_replay(observation_size, action_size), BATCH), versions


def others(
    kind: str, observation_size: int, action_size: int, threads: int
) -> tuple[Callable[[int], Any], dict[str, str]]:
    """SAC of Stable-Baselines3, or of SBX, which makes all updates of a call in one compiled loop."""
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.logger import Logger

    class Still(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_size,), np.float32)

    if kind == "sb3":
        import torch

        torch.set_num_threads(threads)
        learner: Any = stable_baselines3.SAC("MlpPolicy", Still(), buffer_size=20_000, batch_size=BATCH, device="cpu")
        versions = {"stable_baselines3": stable_baselines3.__version__}
    else:
        import jax
        import sbx

        learner = sbx.SAC("MlpPolicy", Still(), buffer_size=20_000, batch_size=BATCH)
        versions = {"sbx": sbx.__version__, "jax": jax.__version__}
    learner._logger = Logger(None, [])
    rng = np.random.default_rng(0)
    buffer = learner.replay_buffer
    buffer.observations[:] = rng.standard_normal(buffer.observations.shape)
    buffer.next_observations[:] = rng.standard_normal(buffer.next_observations.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.rewards[:] = rng.standard_normal(buffer.rewards.shape)
    buffer.full = True

    def run(count: int) -> None:
        for _ in range(count // AT_ONCE):
            if kind == "sb3":
                learner.train(gradient_steps=AT_ONCE, batch_size=BATCH)
            else:
                learner.train(gradient_steps=AT_ONCE, batch_size=BATCH)
                jax.block_until_ready(learner.policy.qf_state.params)

    return run, versions


def contestant(kind: str, size: str, threads: int) -> None:
    """Answers on stdout: once what it is, then for every number on stdin how long so many updates took."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    sys.path.insert(0, str(ROOT))

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        run, versions = (others if kind in OTHERS else ours)(kind, *SIZES[size], threads)
        run(AT_ONCE)
    except Exception as error:  # what is missing here is said, and the others are measured
        answer(missing=f"{type(error).__name__}: {error}"[:200])
        return
    answer(versions=versions)
    for line in sys.stdin:
        wall, busy = time.perf_counter(), time.process_time()
        run(int(line))
        answer(wall=time.perf_counter() - wall, busy=time.process_time() - busy)


# -- the turns --------------------------------------------------------------------------------------------------------


class Process:
    """A contestant as seen from here."""

    def __init__(self, python: str, kind: str, size: str, threads: int) -> None:
        """Starts it; `missing` says why it takes no part, if it does not."""
        command = [python, __file__, "--contestant", kind, "--size", size, "--threads", str(threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet, text=True, env=environment)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout
        told = self._read()
        self.missing: str | None = told.get("missing")
        self.versions: dict[str, str] = told.get("versions", {})

    def _read(self) -> dict[str, Any]:
        line = self._out.readline()
        return json.loads(line) if line else {"missing": "it ended before it began"}

    def turn(self, count: int) -> dict[str, float]:
        """One turn of so many updates: wall time and processor time, s."""
        self._in.write(f"{count}\n")
        self._in.flush()
        return self._read()

    def end(self) -> None:
        """Lets it end."""
        self._in.close()
        self.process.wait()


def measure(size: str, given: argparse.Namespace) -> dict[str, Any]:
    """All contestants of one size in turns.

    Args:
        size: name of it.
        given: flags.

    Returns:
        Updates/s by contestant and turn, versions, and who took no part and why.
    """
    pythons = {"sb3": given.sb3_python, "sbx": given.sbx_python}
    kinds = ["bound", *(kind for kind in (*OURS, *OTHERS) if kind not in given.without)]
    wall: dict[str, list[float]] = {kind: [] for kind in kinds}
    busy: dict[str, list[float]] = {kind: [] for kind in kinds}
    missing: dict[str, str] = {}
    versions: dict[str, str] = {}
    for _ in range(given.starts):
        processes = {}
        for kind in kinds:
            if kind in missing:
                continue
            process = Process(pythons.get(kind, sys.executable), kind, size, given.threads)
            if process.missing is None:
                processes[kind] = process
                versions |= process.versions
            else:
                missing[kind] = process.missing
                print(f"{kind}: left out, {process.missing}", file=sys.stderr, flush=True)
        for _ in range(given.rounds):
            for kind, process in processes.items():
                taken = process.turn(given.updates)
                wall[kind].append(given.updates / taken["wall"])
                busy[kind].append(given.updates / taken["busy"])
        for process in processes.values():
            process.end()
    return {
        "size": size,
        "updates_per_second": {kind: rates for kind, rates in wall.items() if rates},
        "updates_per_processor_second": {kind: rates for kind, rates in busy.items() if rates},
        "missing": missing,
        "versions": versions,
    }


def spread(values: np.ndarray, form: str = "{:.2f}") -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def table(results: Sequence[Mapping[str, Any]], shown: Sequence[str] = ()) -> str:
    """Rates and ratios as median and quartiles over all turns, in Markdown.

    Args:
        results: a line of the results file each; what a size was measured with last counts.
        shown: contestants in the rows; all if empty.
    """
    last = {found["size"]: found["updates_per_second"] for found in results}
    present = [kind for kind in ("sb3", "sbx", "bound") if all(kind in rates for rates in last.values())]
    heads = ["observation, action", "who", "updates/s", *(f"x {TITLES[kind]}" for kind in present)]
    rows = []
    for size, given in last.items():
        rates = {kind: np.array(values) for kind, values in given.items()}
        for kind in shown or rates:
            if kind in rates:
                ratios = [spread(rates[kind] / rates[other]) if other != kind else "" for other in present]
                rows.append((f"{size} {SIZES[size]}", TITLES[kind], spread(rates[kind], "{:.0f}"), *ratios))
    return markdown(heads, rows)


def main() -> None:
    """Measures, prints, appends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=2, help="of torch; JAX takes all cores that it may use")
    parser.add_argument("--rounds", type=int, default=6, help="turns of every process")
    parser.add_argument("--starts", type=int, default=3, help="of every process")
    parser.add_argument("--updates", type=int, default=192, help=f"in a turn, a multiple of {AT_ONCE}")
    parser.add_argument("--without", nargs="*", choices=(*OURS, *OTHERS), default=[], help="who takes no part")
    parser.add_argument("--sb3-python", default=sys.executable, metavar="PYTHON", help="that has stable_baselines3")
    parser.add_argument("--sbx-python", default=sys.executable, metavar="PYTHON", help="that has sbx")
    parser.add_argument("--results", type=Path, metavar="FILE.jsonl", help="append a line of JSON for every size")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contestant:
        contestant(given.contestant, given.size[0], given.threads)
        return
    if given.updates % AT_ONCE:
        parser.error(f"--updates must be a multiple of {AT_ONCE}, got {given.updates}")
    sys.path.insert(0, str(ROOT))
    from robot_rl.training.run import versions
    from robot_rl.training.speed import machine

    here = machine()
    print(f"{here['processor']}, {here['cores']} cores, {here['instructions']}, load {here['load']}")
    for size in given.size:
        found = measure(size, given)
        found = {"machine": machine(), "threads": given.threads, **found, "versions": versions() | found["versions"]}
        print(f"\n{table([found])}", flush=True)
        if given.results:
            with given.results.open("a") as file:
                file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
