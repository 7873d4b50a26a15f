"""Finds a policy by what a person calls it: a run folder, an ONNX file, or the name of a shipped policy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import policies
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.training.run import runs_within

SHIPPED = Path(policies.__file__).parent / "trained"
POLICY = "policy.onnx"
"""Name of the policy file in a run folder."""
COMPOSITION = "composition.json"
"""What a folder of a composed policy has instead of a run's config.json."""


@dataclass(frozen=True)
class PolicyFile:
    """Where a policy lies."""

    path: Path
    run: Path | None
    """The run that it came from, where it lies in one."""


def shipped_policies() -> dict[str, Path]:
    """The policies that come with the project, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.onnx"))}


def is_run(path: Path) -> bool:
    """Whether a folder is a run."""
    return (path / "config.json").is_file()


def is_composition(path: Path) -> bool:
    """Whether a folder is that of a composed policy."""
    return (path / COMPOSITION).is_file()


def find_policy(given: str) -> PolicyFile:
    """Finds the file.

    Args:
        given: run folder, file, or name of a shipped policy.

    Raises:
        UnknownName: none of these; lists the shipped ones.
        ConfigurationError: a run without a policy, or a folder that is no run.
    """
    path = Path(given)
    if path.is_dir():
        if not is_run(path) and not is_composition(path):
            raise ConfigurationError(
                f"{given} is not a run: it has no config.json{runs_within(path, ('config.json', COMPOSITION))}"
            )
        if not (path / POLICY).is_file():
            raise ConfigurationError(f"run {given} has no {POLICY} yet; make it with: robot-rl export {given}")
        return PolicyFile(path / POLICY, path if is_run(path) else None)
    if path.is_file():
        return PolicyFile(path, path.parent if is_run(path.parent) else None)
    if given in shipped_policies():
        return PolicyFile(shipped_policies()[given], None)
    if given.endswith(".onnx") or "/" in given:
        raise ConfigurationError(f"there is no run and no policy file at {given}")
    raise UnknownName.of("policy", given, shipped_policies() or ["(none)"], "(or give a run folder or an ONNX file)")
