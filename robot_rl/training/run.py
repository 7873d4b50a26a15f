"""The folder of one run: what was asked for, what came out, and where to continue."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from robot_rl.errors import ConfigurationError, RunExists, StorageError
from robot_rl.training.files import place_folder, to_json

PACKAGES = ("robot_rl", "torch", "numpy", "gymnasium", "mujoco", "pybullet", "dm_control", "safetensors")

_LISTED = 5
"""How many runs a message names at most."""


def runs_within(folder: Path, marks: Sequence[str] = ("config.json",)) -> str:
    """The end of a message for whoever named a folder of runs: which are in it, the newest last; empty without any.

    Args:
        folder: such as `runs` or `runs/walk-go2`; it may be missing.
        marks: files of which a run's folder has one.
    """
    found = {path.parent for mark in marks for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{mark}")}
    runs = [str(run) for run in sorted(found, key=lambda run: run.name)]
    if not runs:
        return ""
    return f"; runs in it: {'..., ' if len(runs) > _LISTED else ''}{', '.join(runs[-_LISTED:])}"


class Run:
    """The folder of one run.

        config.json       resolved settings
        command.json      command line, versions, time of the start
        metrics.jsonl     one line per logged step
        episodes.jsonl    one line per episode of a randomised robot: how it went, and what was drawn for it
        tensorboard/      the same for TensorBoard
        checkpoints/      see `robot_rl.training.checkpoint`
        replay/           segments of transitions
        offline/          those of another run that this one learns from too
        videos/  plots/

    Attributes:
        path: the folder.
        config: what was given to `create`.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        """Use `create` or `open`."""
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], command: list[str] | None = None) -> Run:
        """Makes the folder, with the settings and versions in it.

        Args:
            path: a folder that does not exist, such as `runs/walk-go2/20250102-030405_sac_s0`.
            config: the resolved settings, as JSON can hold them.
            command: the command line; None for this process's.

        Raises:
            RunExists: there is something at `path`.
            StorageError: the disk is full or not writable.
        """
        path = Path(path)
        exists = RunExists(
            f"{path} exists already and is left as it is; resume it with --resume {path}, or choose another folder"
        )
        if path.exists():
            raise exists
        resolved = json.loads(to_json(dict(config)))
        about = {
            "command": command if command is not None else [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
        }
        try:
            place_folder(path, {"config.json": to_json(resolved), "command.json": to_json(about)})
        except StorageError:
            if path.exists():  # another process was quicker
                raise exists from None
            raise
        return cls(path, resolved)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Opens the folder of an earlier run.

        Raises:
            ConfigurationError: there is no run at `path`.
            StorageError: its settings cannot be read.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise ConfigurationError(f"{path} is not a run: it has no config.json{runs_within(path)}")
        try:
            config = json.loads((path / "config.json").read_bytes())
        except ValueError as error:
            raise StorageError(f"{path / 'config.json'} is damaged: {error}") from error
        return cls(path, config)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def replay(self) -> Path:
        """Folder of the replay segments."""
        return self.path / "replay"

    @property
    def offline(self) -> Path:
        """Folder of the replay segments of another run that this one learns from too."""
        return self.path / "offline"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    @property
    def plots(self) -> Path:
        """Folder of the plots."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard files."""
        return self.path / "tensorboard"

    @property
    def episodes(self) -> Path:
        """The record of the episodes of a randomised robot."""
        return self.path / "episodes.jsonl"

    @property
    def metrics(self) -> Path:
        """The record of metrics."""
        return self.path / "metrics.jsonl"


def run_name(algorithm: str, seed: int, now: datetime | None = None) -> str:
    """The name of a run's folder, `<time>_<algorithm>_s<seed>`, time in UTC."""
    now = now or datetime.now(timezone.utc)
    return f"{now:%Y%m%d-%H%M%S}_{algorithm}_s{seed}"


def versions() -> dict[str, str]:
    """Versions of Python, of the system and of the packages that results depend on."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
