"""What the tests of commands share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from robot_rl.cli import main
from robot_rl.tasks import TASKS


@pytest.fixture(scope="module")
def short_episodes() -> Iterator[None]:
    """Episodes of half a second: a run ends with ten of them, which would take longer than the hundred steps before."""
    with pytest.MonkeyPatch.context() as patch:
        for task in TASKS.values():
            patch.setattr(task, "time_limit", 0.5)
        yield


@pytest.fixture
def failed(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command that must fail; returns its exit code and its one line."""

    def run(*arguments: Any) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("robot-rl: ")]
        assert len(lines) == 1, lines
        assert "Traceback" not in lines[0]
        return code, lines[0]

    return run
