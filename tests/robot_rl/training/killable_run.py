"""A tiny training run in a process of its own, to be killed at any moment; see test_resume.py.

    python killable_run.py FOLDER ENVIRONMENT...

For each kind of environment, trains without interruption once, then trains again under a hail of SIGKILL, each child
process killed at another moment and followed by one that resumes, and writes both outcomes to
FOLDER/ENVIRONMENT/outcome.json. Torch is imported once and the children are forked before it computes anything, which
saves seconds for every kill.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.utils.tensorboard  # here, not in every child

from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.training import files
from robot_rl.training.metrics import read_metrics
from robot_rl.training.normalizer import Normalizer
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, train

STEPS = 300


class PointMass(gymnasium.Env):
    """A point on a line, pushed to the origin: episodes end at |x| > 2 or after 30 steps; noise from np_random."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.state = np.zeros(2)
        self.tick = 0
        self.was_reset = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.was_reset = True
        self.state = self.np_random.uniform(-1.0, 1.0, 2)
        self.tick = 0
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        position, velocity = self.state
        velocity = 0.9 * velocity + 0.3 * float(action[0]) + 0.01 * self.np_random.standard_normal()
        self.state = np.array([position + 0.3 * velocity, velocity])
        self.tick += 1
        terms = {"position": -(position**2), "effort": -0.1 * float(action[0]) ** 2}
        info = {"reward_terms": terms, "safety": {"fast": int(abs(velocity) > 1.0)}}
        terminated = bool(abs(self.state[0]) > 2.0)
        return self.state.astype(np.float32), sum(terms.values()), terminated, self.tick >= 30, info


class PointMassWithSnapshots(PointMass):
    """The same, which can be saved in the middle of an episode."""

    def snapshot(self) -> dict[str, Any]:
        assert self.was_reset, "as of a robot: there is nothing to save before the first reset"
        return {"state": self.state.copy(), "tick": self.tick, "rng": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.state = np.array(snapshot["state"])
        self.tick = snapshot["tick"]
        self.np_random.bit_generator.state = snapshot["rng"]


def make_environment(kind: str) -> gymnasium.Env | gymnasium.vector.VectorEnv:
    if kind == "snapshots":
        return gymnasium.wrappers.TimeLimit(PointMassWithSnapshots(), 25)
    if kind == "episodes":
        return PointMass()
    return gymnasium.vector.SyncVectorEnv([PointMass] * 3)


def train_to_the_end(folder: Path, kind: str) -> None:
    torch.set_num_threads(1)
    settings = SACSettings(hidden_sizes=(8, 8))
    learner = SAC(2, 1, settings, seed=1, normalizer=Normalizer.running_statistics(2))
    interval = 17 if kind == "vector" else 50  # each of its three environments has as many steps as another's one
    trainer = TrainerSettings(
        total_steps=STEPS, start_steps=75, batch_size=8, replay_capacity=150, checkpoint_interval=interval,
        evaluation_interval=100, log_interval=30, seed=1, updates_per_step=0.5,
    )  # fmt: skip
    run = Run.open(folder) if folder.exists() else Run.create(folder, {"kind": kind})
    probe = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2)
    train(
        make_environment(kind), learner, trainer, run,
        evaluate=lambda learner: {"return": float(learner.act(probe, deterministic=True).sum())},
    )  # fmt: skip
    digest = hashlib.sha256()
    for name, tensor in sorted(learner.state().tensors.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    clocks = ("speed/", "wall_time")
    lines = [
        {name: value for name, value in line.items() if not name.startswith(clocks)}
        for line in read_metrics(run.metrics)
    ]
    (folder / "outcome.json").write_text(json.dumps({"sha256": digest.hexdigest(), "metrics": lines}))


def kill_at_storage_call(number: int) -> None:
    """Kills this process at its n-th call that changes the disk, in the middle of it if it writes bytes."""
    count = 0

    def counted(call: Any, writes: bool = False) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                if writes:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    files.os.write = counted(os.write, writes=True)  # type: ignore[assignment]
    for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
        setattr(files.os, name, counted(getattr(os, name)))


def child(folder: Path, kind: str, kill_at: int | None = None, kill_after: float | None = None) -> bool:
    """Forks a process that trains; True if it came to the end."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            warnings.simplefilter("error")
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            if kill_at is not None:
                kill_at_storage_call(kill_at)
            train_to_the_end(folder, kind)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__)
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit("the training process failed")
    return os.WIFEXITED(status)


def outcome(folder: Path, kind: str) -> dict[str, Any]:
    """What a whole run and one that was killed again and again end with, and how often it was."""
    started = time.monotonic()
    assert child(folder / "whole", kind)
    duration = time.monotonic() - started
    kills = 0
    # A save makes about a dozen such calls, so these meet every stage of the first saves.
    for kill_at in range(1, 26, 1 if kind == "snapshots" else 3):
        kills += not child(folder / "killed", kind, kill_at=kill_at)
    rng = random.Random(0)
    for _ in range(4):
        kills += not child(folder / "killed", kind, kill_after=rng.uniform(0.0, 0.5 * duration))
    while not child(folder / "killed", kind):
        pass
    result = {name: json.loads((folder / name / "outcome.json").read_text()) for name in ("whole", "killed")}
    return {**result, "kills": kills}


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        place = Path(sys.argv[1]) / kind
        found = outcome(place, kind)
        (place / "outcome.json").write_text(json.dumps(found))
