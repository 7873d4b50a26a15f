"""A randomised robot in an environment, in training, and on the command line."""

import json

import numpy as np
import pytest
import yaml

from robot_rl.cli import main
from robot_rl.commands.configuration import resolve, saved_config
from robot_rl.commands.training import start, train_only
from robot_rl.make import load_randomization, make_env, make_vector_env
from robot_rl.settings import from_mapping
from robot_rl.training.collector import Collector
from robot_rl.training.metrics import read_metrics
from robot_rl.training.run import Run
from robot_rl.training.state import State
from robot_rl.training.trainer import TrainerSettings

STRONG = {"go2": "walk", "minitaur": "walk", "dclaw": "turn_valve"}


def environment(name, count=0, randomize="strong"):
    randomization = load_randomization(randomize, name)
    if count:
        return make_vector_env(name, STRONG[name], count, randomization=randomization, threads=1, time_limit=0.5)
    return make_env(name, STRONG[name], randomization=randomization, time_limit=0.5)


def played(env, actions):
    """Observations, rewards and what was drawn, over several episodes."""
    found = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        found.append((observation.copy(), np.array(reward)))
        drawn = info.get("randomization", {})
        found.append((np.array(list(drawn.values())), np.zeros(0)))
        if not hasattr(env, "num_envs") and (terminated or truncated):
            env.reset()
    return found


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("name", STRONG)
def test_a_restored_environment_goes_on_as_the_saved_one(name, count):
    rng = np.random.default_rng(0)
    env = environment(name, count)
    env.reset(seed=4)
    shape = env.action_space.shape
    actions = rng.uniform(-1.0, 1.0, (45, *shape)).astype(np.float32)
    played(env, actions[:13])
    state = State.of_tree(env.snapshot())
    kept = json.loads(json.dumps(state.values)), {key: array.copy() for key, array in state.arrays.items()}
    expected = played(env, actions[13:])  # over an end and a reset
    other = environment(name, count)
    other.restore(State(values=kept[0], arrays=kept[1]).tree())
    for (a, b), (c, d) in zip(expected, played(other, actions[13:]), strict=True):
        assert np.array_equal(a, c)
        assert np.array_equal(b, d)
    env.close()
    other.close()


def test_what_was_drawn_is_told_at_the_reset_and_at_the_end():
    env = environment("go2")
    _, info = env.reset(seed=1)
    drawn = dict(info["randomization"])
    assert drawn["friction"] == pytest.approx(env.robot.model.geom("FL_foot").friction[0] / 0.8)
    ended = False
    while not ended:
        *_, terminated, truncated, info = env.step(np.zeros(12, np.float32))
        ended = terminated or truncated
        assert ("randomization" in info) == ended
    assert info["randomization"] == drawn
    _, info = env.reset()
    assert info["randomization"]["friction"] != drawn["friction"]
    env.close()


def test_without_randomisation_nothing_is_told():
    env = make_env("go2", "walk", time_limit=0.02)
    assert env.reset(seed=0)[1] == {}
    assert "randomization" not in env.step(np.zeros(12, np.float32))[4]
    env.close()


@pytest.mark.parametrize("count", [0, 2])
def test_every_episode_of_a_collector_knows_its_own_values(count):
    env = environment("dclaw", count)
    collector = Collector(env)
    collector.restart(0)
    first = env.robot.drawn["mass.finger1_link1"]
    for _ in range(11):  # two episodes of five ticks
        collector.step(np.zeros((collector.count, 9), np.float32))
    episodes = collector.take_finished()
    masses = [episode.randomization["mass.finger1_link1"] for episode in episodes]
    assert masses[: collector.count] == np.atleast_1d(first).tolist()
    assert len(set(masses)) == len(masses) == 2 * collector.count
    env.close()


def test_a_run_keeps_its_randomisation_whole(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"mass": [0.9, 1.1], "actuation_delay": {"delay": [0.0, 0.02]}}))
    values = {"task": {"name": "walk"}, "robot": "go2", "randomize": str(file)}
    config = resolve(values, "test")
    file.unlink()
    assert resolve(json.loads(json.dumps(config.to_dict())), "test") == config
    assert config.randomization().settings == {"mass": [0.9, 1.1], "actuation_delay": {"delay": [0.0, 0.02]}}


SHORT = {
    "sac": {"hidden_sizes": [16]},
    "trainer": {
        "batch_size": 16,
        "start_steps": 20,
        "updates_per_step": 0.2,
        "log_interval": 60,
        "checkpoint_interval": 60,
        "evaluation_interval": 0,
    },
}


@pytest.mark.parametrize("robots", [1, 2])
def test_a_resumed_randomised_run_is_the_uninterrupted_one(robots, tmp_path):
    values = {"task": {"name": "turn_valve"}, "robot": "dclaw", "robots": robots, "seed": 2, "randomize": "strong"}

    def train(folder, steps):
        """In two goes where there is a run already, as from the command line."""
        if not folder.exists():
            start(resolve({**values, **SHORT}, "test"), [], folder)
        config = saved_config(folder)
        settings = from_mapping(TrainerSettings, {**config.trainer, "total_steps": steps}, "trainer")
        train_only(Run.open(folder), config, settings)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(whole, 240)
    train(parts, 100)
    train(parts, 240)
    assert (whole / "episodes.jsonl").read_bytes() == (parts / "episodes.jsonl").read_bytes()
    lines = [json.loads(line) for line in (whole / "episodes.jsonl").read_text().splitlines()]
    assert len(lines) == (3 if robots == 1 else 2)
    assert len({line["randomization/mass.finger1_link1"] for line in lines}) == len(lines)
    assert all(line["length"] == 80 for line in lines)
    # And what was learnt from them.
    last = [read_metrics(folder / "metrics.jsonl")[-1] for folder in (whole, parts)]
    learnt = [{name: value for name, value in line.items() if name.startswith("learner/")} for line in last]
    assert learnt[0]
    assert learnt[0] == learnt[1]


def test_evaluate_says_what_was_drawn(capsys):
    assert main(["evaluate", "dclaw-turn_valve", "--episodes", "2", "--seconds", "0.5", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    given = ["--randomize", "mild", "--episodes", "2", "--seconds", "0.5", "--json"]
    assert main(["evaluate", "dclaw-turn_valve", *given]) == 0
    varied = json.loads(capsys.readouterr().out)
    assert plain["randomize"] is None
    assert plain["each_episode"][0]["randomization"] == {}
    assert varied["randomize"]["mass"] == [0.95, 1.05]
    ratios = [episode["randomization"]["mass.finger1_link1"] for episode in varied["each_episode"]]
    assert 0.95 <= min(ratios) < max(ratios) <= 1.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "go2-walk", "--randomize", "wild"], ["wild", "mild, outdoors, strong"]),
        (["train", "walk", "--robot", "go2", "--randomize", "wild"], ["wild", "mild, outdoors, strong"]),
        (["train", "walk", "--robot", "go2", "--randomize", "mild", "--on", "ros"], ["MuJoCo", "'ros'"]),
        (["train", "--resume", "RUN", "--randomize", "mild"], ["not a run"]),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    for word in words:
        assert word in text
