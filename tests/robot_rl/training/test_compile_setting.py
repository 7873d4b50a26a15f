"""When a run computes its updates compiled, and that it goes on as it began."""

from pathlib import Path

import pytest

from robot_rl.algorithms.compiled import CannotCompile
from robot_rl.algorithms.ppo import PPO, PPOSettings
from robot_rl.algorithms.sac import SAC, SACSettings
from robot_rl.algorithms.soft_q import SoftQ, SoftQSettings
from robot_rl.errors import ConfigurationError
from robot_rl.training.run import Run
from robot_rl.training.trainer import TrainerSettings, train


class Recording(SAC):
    """A learner that says when it was told to compile, and does not."""

    def __init__(self, obstacle: str | None = None) -> None:
        super().__init__(2, 1, SACSettings(hidden_sizes=(4,)))
        self.told: list[int] = []
        self.obstacle = obstacle

    def compile(self, batch_size: int) -> None:
        self.told.append(batch_size)
        if self.obstacle:
            raise CannotCompile(self.obstacle)


class Enough(Exception):
    """Ends a run that would be long."""


def enough(learner: object) -> dict[str, float]:
    raise Enough


def settings(**changes) -> TrainerSettings:
    few = {"total_steps": 30, "start_steps": 10, "batch_size": 8, "replay_capacity": 100, "threads": 1}
    return TrainerSettings(**{**few, "evaluation_interval": 20, "checkpoint_interval": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "compiled"),
    [
        ({"total_steps": 8_000}, False),
        ({"total_steps": 20_000}, True),
        ({"total_steps": 8_000, "updates_per_step": 2.0}, True),
        ({"total_steps": 20_000, "updates_per_step": 0.1}, False),
        ({"total_steps": 20_000, "compile": "never"}, False),
        ({"total_steps": 100, "compile": "always"}, True),
    ],
)
def test_long_runs_are_compiled_unless_told_otherwise(small, changes: dict, compiled: bool):
    learner = Recording()
    with pytest.raises(Enough):
        train(small.PointMass(), learner, settings(**changes), evaluate=enough)
    assert learner.told == ([8] if compiled else [])


def test_a_run_that_cannot_be_compiled_says_why_and_trains(small, capsys):
    learner = Recording("there is no compiler")
    with pytest.raises(Enough):
        train(small.PointMass(), learner, settings(total_steps=60_000), evaluate=enough)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "without a compiled update" in line]
    assert "there is no compiler" in line


def test_always_is_refused_where_it_cannot_be(small):
    with pytest.raises(ConfigurationError, match=r"compile is always.*there is no compiler"):
        train(small.PointMass(), Recording("there is no compiler"), settings(compile="always"))
    with pytest.raises(ConfigurationError, match="SoftQ has no compiled update"):
        train(small.PointMass(), SoftQ(2, 1, SoftQSettings(hidden_sizes=(4,))), settings(compile="always"))
    with pytest.raises(ConfigurationError, match="PPO has no compiled update"):
        train(small.PointMass(), PPO(2, 1, PPOSettings(hidden_sizes=(4,))), settings(compile="always"))
    with pytest.raises(ConfigurationError, match="compile must be auto, always or never"):
        settings(compile="on")


@pytest.mark.parametrize("began", ["always", "never"])
def test_a_resumed_run_goes_on_as_it_began_however_long_it_is_now(small, began: str, tmp_path: Path):
    run = Run.create(tmp_path / "run", {})
    train(small.PointMass(), Recording(), settings(compile=began), run)
    learner = Recording()
    longer = 60_000 if began == "never" else 40
    with pytest.raises(Enough):
        train(small.PointMass(), learner, settings(total_steps=longer, evaluation_interval=40), run, evaluate=enough)
    assert learner.told == ([8] if began == "always" else [])
