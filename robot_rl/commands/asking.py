"""Asks a person before a robot moves."""

from __future__ import annotations

import sys

from robot_rl.errors import ConfigurationError


def check_can_ask(yes: bool) -> None:
    """Refuses to go on where nobody can be asked.

    Raises:
        ConfigurationError: no terminal, and no `--yes`.
    """
    if not yes and not sys.stdin.isatty():
        raise ConfigurationError("this moves a robot, and there is no terminal to ask on; agree with --yes")


def ask(question: str) -> bool:
    """Whether the person at the terminal says yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
