"""`robot-rl train --begin-with RUN`: a new run goes on from what another one has learnt."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from policies.runtime import OnnxPolicy
from robot_rl.cli import main
from robot_rl.commands.beginning import first_learner
from robot_rl.commands.configuration import saved_config
from robot_rl.errors import ConfigurationError
from robot_rl.make import make_env

pytestmark = pytest.mark.usefixtures("short_episodes")

TINY = """
    --sac.hidden_sizes 16 16 --trainer.start_steps 100 --trainer.batch_size 32 --trainer.log_interval 100
    --trainer.evaluation_interval 0 --trainer.checkpoint_interval 100 --trainer.threads 1
""".split()  # noqa: SIM905
STAND = ["train", "stand", "--robot", "go2", *TINY]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run that others begin with."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main([*STAND, "--steps", "150", "--out", str(folder)]) == 0
    return folder


def actions(run):
    """Of a run's policy in twenty observations, (20, A)."""
    policy, env = OnnxPolicy.load(run / "policy.onnx"), make_env("go2", "stand")
    rows = [env.reset(seed=seed)[0] for seed in range(20)]
    return np.array([policy.act(row).action for row in rows])


@pytest.mark.parametrize("flags", [[], ["--trainer.pipeline", "true"]], ids=["in turns", "in a pipeline"])
def test_a_run_begins_as_the_policy_of_another(flags, first, tmp_path):
    # Its random steps are not over, so nothing has been learnt yet; a new learner of this seed acts otherwise.
    begun, new = tmp_path / "begun", tmp_path / "new"
    given = [*STAND, "--steps", "50", "--seed", "5", "--randomize", "mild"]
    assert main([*given, *flags, "--begin-with", str(first), "--out", str(begun)]) == 0
    assert main([*given, "--out", str(new)]) == 0
    assert actions(begun) == pytest.approx(actions(first), abs=1e-5)
    assert np.abs(actions(new) - actions(first)).max() > 1e-3


def test_a_run_that_has_begun_goes_on_without_the_other(first, tmp_path):
    other, begun = tmp_path / "other", tmp_path / "begun"
    shutil.copytree(first, other)
    assert main([*STAND, "--steps", "120", "--begin-with", str(other), "--out", str(begun)]) == 0
    shutil.rmtree(other)
    assert main(["train", "--resume", str(begun), "--steps", "140"]) == 0
    assert json.loads((begun / "config.json").read_text())["begin_with"] == str(other)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--algorithm", "td3"], ["learns with sac, this one td3"]),
        (["--observation.history", "3"], ["that run observes", "this one"]),
        (["--sac.hidden_sizes", "8", "8"], ["(16,", "(8,"]),
        (["--sac.running_normalizer", "true"], ["that run normalises", "fixed ones, this one by their running mean"]),
    ],
)
def test_a_run_that_learns_or_observes_otherwise_is_no_beginning(flags, words, first, tmp_path, failed):
    tiny = [word.replace("sac.", "td3.") if "td3" in flags else word for word in TINY]
    given = ["train", "stand", "--robot", "go2", *tiny, *flags, "--out", tmp_path / "begun"]
    code, line = failed(*given, "--begin-with", first)
    assert code != 0
    for word in words:
        assert word in line
    assert not (tmp_path / "begun").exists()


def test_a_run_that_begins_with_another_draws_its_own_random_numbers(first):
    config = dataclasses.replace(saved_config(first), begin_with=str(first))
    learners = [first_learner(dataclasses.replace(config, seed=seed)) for seed in (1, 1, 2)]
    row = make_env("go2", "stand").reset(seed=0)[0]
    drawn = [learner.act(row) for learner in learners]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 1e-3


def test_workers_elsewhere_begin_with_no_run(first):
    config = dataclasses.replace(saved_config(first), begin_with=str(first), ray={"workers": 2})
    with pytest.raises(ConfigurationError, match="not for training with workers"):
        first_learner(config)


def test_what_is_no_run_is_no_beginning(tmp_path, failed):
    code, line = failed(*STAND, "--begin-with", tmp_path, "--out", tmp_path / "begun")
    assert code == 2
    assert "not a run" in line
