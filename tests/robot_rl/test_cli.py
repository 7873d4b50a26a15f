"""The command line: what it prints, and one line with the right exit code for what a person can get wrong."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from policies.contract import seal, unseal
from robot_rl.cli import main
from robot_rl.commands import policy_files
from robot_rl.commands.config_files import read_file
from robot_rl.commands.configuration import saved_config
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.errors import ConfigurationError
from robot_rl.make import ALGORITHMS
from robot_rl.spec_file import BUILTIN
from robot_rl.training.metrics import read_metrics
from robot_rl.training.trainer import TrainerSettings

pytestmark = pytest.mark.usefixtures("short_episodes")

TINY = """
    --sac.hidden_sizes 16 16 --trainer.start_steps 100 --trainer.batch_size 32 --trainer.log_interval 100
    --trainer.evaluation_interval 200 --trainer.evaluation_episodes 1 --trainer.checkpoint_interval 100
    --trainer.threads 1
""".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few hundred steps with its policy file."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", "stand", "--robot", "go2", "--steps", "200", "--out", str(folder), *TINY]) == 0
    return folder


def printed_json(capsys, *arguments):
    """Runs a command that must work; returns what it printed as JSON."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def suite_run(tmp_path_factory):
    """A short run of a task that brings its own body."""
    pytest.importorskip("dm_control", reason="dm_control is not installed (extra 'suite')")
    folder = tmp_path_factory.mktemp("runs") / "suite"
    given = ["train", "dm_control/cartpole-balance", "--steps", "200", "--out", str(folder), *TINY]
    assert main([*given, "--trainer.evaluation_interval", "0"]) == 0
    return folder


# -- a run from beginning to end ---------------------------------------------------------------------------------------


def test_a_run_ends_with_a_policy_a_plot_and_an_evaluation(run):
    for name in ("policy.onnx", "plots/learning_curve.png", "evaluation.json", "config.json", "metrics.jsonl"):
        assert (run / name).stat().st_size > 0
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["episodes"] == len(evaluation["each_episode"]) == 10


def test_a_saved_configuration_has_every_setting_and_reads_back_as_itself(run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())
    assert config["task"] == {"name": "stand"}
    assert config["sac"]["discount"] == 0.97  # of the recipe
    assert config["sac"]["hidden_sizes"] == [16, 16]
    assert config["trainer"]["total_steps"] == 200
    out = tmp_path / "again"
    assert main(["train", "--config", str(run / "config.json"), "--out", str(out), "--steps", "100"]) == 0
    again = json.loads((out / "config.json").read_text())
    assert again.pop("trainer") == {**config.pop("trainer"), "total_steps": 100}
    assert again == config


@pytest.mark.parametrize(("algorithm", "says"), [("sac", "first 1,000 are random"), ("ppo", "after each 2,048 steps")])
def test_a_run_without_an_update_says_so(algorithm, says, tmp_path, capsys):
    given = ["train", "stand", "--robot", "go2", "--algorithm", algorithm, "--steps", "110"]
    given += ["--trainer.evaluation_interval", "0", f"--{algorithm}.hidden_sizes", "8"]
    assert main([*given, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "no update was made in 110 steps" in said
    assert says in said
    assert "left" not in said  # from random steps nobody knows how long it will take


def test_a_robot_whose_model_does_not_suit_leaves_no_run(tmp_path, failed):
    robot = tmp_path / "mine.yaml"
    model = BUILTIN.parents[1] / "sim" / "models" / "go2.xml"
    robot.write_text((BUILTIN / "go2.yaml").read_text().replace("FL_hip_joint", "FL_hop_joint"))
    text = robot.read_text()
    robot.write_text(text.replace(next(w for w in text.split() if w.endswith("go2.xml")), str(model)))
    code, line = failed("train", "stand", "--robot", robot, "--steps", "110", "--out", tmp_path / "run")
    assert code == 2
    assert "FL_hop_joint" in line
    assert not (tmp_path / "run").exists()


def test_a_recipe_is_read_by_its_name():
    assert read_file("walk-go2")["task"] == {"step_height": 0.08}


def test_a_goal_that_the_policy_never_saw_is_said(capsys):
    given = ["evaluate", "go2-walk", "--episodes", "1", "--seconds", "0.1"]
    assert main([*given, "--goal", "1.6", "0", "0", "2"]) == 0
    assert "goal forward m/s: 1.6 is outside of what the policy saw in training, 0.6 to 0.6" in capsys.readouterr().err
    assert main([*given, "--goal", "0.6", "0", "0", "2"]) == 0
    assert "outside" not in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["a3c", "acktr"])
def test_a_saved_setting_that_never_had_an_effect_is_passed_over(algorithm, run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    saved = {**config, "algorithm": algorithm, algorithm: {"critic_minibatch": 128, "steps": 64}}
    del saved["sac"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert saved_config(tmp_path).algorithm_settings["steps"] == 64


EYES = "--encoder.channels 4 --encoder.features 4".split()  # noqa: SIM905


def test_a_run_that_sees_resumes_and_leaves_a_policy_that_sees(tmp_path, capsys, failed):
    folder = tmp_path / "seeing"
    start = ["train", "turn_valve", "--robot", "dclaw", "--camera", "--observation.history", "2"]
    assert main([*start, "--steps", "110", "--out", str(folder), *TINY, *EYES]) == 0
    assert json.loads((folder / "config.json").read_text())["task"]["goal"] == [0.0, 0.0]  # of the recipe
    assert main(["train", "--resume", str(folder), "--steps", "120"]) == 0
    found = printed_json(capsys, "evaluate", folder, "--episodes", "1", "--seconds", "0.5", "--randomize", "mild")
    assert found["robot"] == "dclaw"
    assert "32 x 32 pixels" in told(capsys, "info", folder / "policy.onnx")
    code, line = failed("compose", folder, folder, "--weights", ".5", ".5", "--out", tmp_path / "both")
    assert code == 2
    assert "observation.camera" in line


def told(capsys, *arguments):
    """Runs a command that must work; returns what it printed."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "sac"])
def test_every_algorithm_trains_resumes_and_leaves_a_policy_file(algorithm, tmp_path, capsys):
    folder = tmp_path / "run"
    flags = [flag.replace("--sac.", f"--{algorithm}.") for flag in TINY]
    flags += ["--a3c.workers", "1"] if algorithm == "a3c" else []
    command = ["train", "stand", "--robot", "go2", "--steps", "130", "--algorithm", algorithm, "--out", str(folder)]
    assert main([*command, *flags, f"--{algorithm}.discount", "0.9"]) == 0
    assert main(["train", "--resume", str(folder), "--steps", "150"]) == 0
    contract = printed_json(capsys, "info", folder / "policy.onnx")
    assert contract["algorithm"] == algorithm
    assert contract["settings"]["discount"] == 0.9
    assert 150 <= contract["training"]["steps"] < 155
    assert contract["network"]["sizes"][1:3] == [16, 16]
    assert printed_json(capsys, "evaluate", folder, "--episodes", "1")["episodes"] == 1


def test_a_resumed_run_goes_on_to_more_steps(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", "stand", "--robot", "go2", "--steps", "120", "--out", str(folder), *TINY]) == 0
    assert main(["train", "--resume", str(folder), "--steps", "160"]) == 0
    found = printed_json(capsys, "info", folder)
    assert found["latest"]["step"] == 160
    assert found["config"]["trainer"]["total_steps"] == 160


def test_copies_in_step_train_too(tmp_path):
    folder = tmp_path / "run"
    arguments = ["train", "stand", "--robot", "go2", "--robots", "2", "--steps", "120", "--out", str(folder)]
    assert main([*arguments, *TINY]) == 0
    assert (folder / "policy.onnx").is_file()


@pytest.mark.parametrize("robots", ["1", "2"])
def test_training_episodes_are_as_long_as_asked_for(robots, tmp_path):
    folder = tmp_path / "run"
    arguments = ["train", "stand", "--robot", "go2", "--robots", robots, "--steps", "200", "--out", str(folder), *TINY]
    assert main([*arguments, "--trainer.episode_seconds", "0.4"]) == 0
    lengths = [line["training/length"] for line in read_metrics(folder / "metrics.jsonl") if "training/length" in line]
    assert lengths
    assert max(lengths) <= 20  # 0.4 s at 50 Hz
    with pytest.raises(ConfigurationError, match="episode_seconds must be positive, got 0"):
        TrainerSettings(episode_seconds=0.0)


def test_export_writes_a_file_that_evaluate_runs(run, tmp_path, capsys):
    out = tmp_path / "policy.onnx"
    report = printed_json(capsys, "export", run, "--out", out)
    assert report["max_error"] <= 1e-5
    found = printed_json(capsys, "evaluate", out, "--episodes", 2, "--seconds", 0.5)
    assert found["episodes"] == 2
    assert found["robot"] == "go2"
    assert all(episode["seconds"] <= 0.5 for episode in found["each_episode"])
    assert found["latency_s"]["p50"] > 0


def test_an_older_checkpoint_can_be_exported(run, tmp_path, capsys):
    out = tmp_path / "older.onnx"
    assert main(["export", str(run), "--checkpoint", "100", "--out", str(out)]) == 0
    assert printed_json(capsys, "info", out)["training"]["steps"] == 100


def test_evaluation_is_the_same_for_the_same_seed(run, capsys):
    one, two = (printed_json(capsys, "evaluate", run, "--episodes", 1, "--seconds", 1) for _ in range(2))
    assert one["each_episode"] == two["each_episode"]


def test_evaluate_prints_a_page_for_a_person(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--episodes", "1", "--seconds", "0.2"]) == 0
    out = capsys.readouterr().out
    for word in ("return", "to the end", "latency", "stand on go2"):
        assert word in out


def test_evaluate_films_an_episode(run, tmp_path, capsys):
    video = tmp_path / "video.mp4"
    assert main(["evaluate", str(run), "--episodes", "1", "--seconds", "0.2", "--video", str(video)]) == 0
    assert video.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [video]


def test_info_says_what_a_run_and_a_file_are(run, capsys):
    found = printed_json(capsys, "info", run)
    assert found["config"]["robot"] == "go2"
    assert "policy.onnx" in found["files"]
    contract = printed_json(capsys, "info", run / "policy.onnx")
    assert contract["robot"]["name"] == "go2"
    assert contract["training"]["command"].startswith("robot-rl train stand")
    assert main(["info", str(run)]) == main(["info", str(run / "policy.onnx")]) == 0
    assert "200 of 200" in capsys.readouterr().out


def test_info_writes_timing_of_bags_alone(run, failed, tmp_path):
    code, line = failed("info", run, "--timing", tmp_path / "t.csv")
    assert code == 2
    assert f"--timing: {run} is no bag" in line
    assert list(tmp_path.iterdir()) == []


# -- names ------------------------------------------------------------------------------------------------------------


def test_list_names_robots_tasks_algorithms_and_policies(capsys):
    found = printed_json(capsys, "list")
    assert set(found) == {"robots", "tasks", "algorithms", "policies"}
    assert "go2" in found["robots"]
    assert "walk" in found["tasks"]
    assert printed_json(capsys, "list", "algorithms") == {"algorithms": found["algorithms"]}


def test_a_shipped_policy_runs_by_its_name(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "go2-stand.onnx").write_bytes((run / "policy.onnx").read_bytes())
    monkeypatch.setattr(policy_files, "SHIPPED", tmp_path)
    assert "go2-stand" in printed_json(capsys, "list", "policies")["policies"]
    assert printed_json(capsys, "evaluate", "go2-stand", "--episodes", 1, "--seconds", 0.2)["policy"] == "go2-stand"


def test_help_of_train_has_the_settings_of_the_task_with_units(capsys):
    assert main(["train", "walk", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("--task.forward", "m/s, range of the commanded forward velocity", "--sac.discount", "--trainer."):
        assert words in out


def test_help_of_settings_that_a_class_inherits_is_there_too(capsys):
    assert main(["train", "walk", "--algorithm", "trpo", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in ("By which a step that is not good is shortened", "mean divergence of an update", "gamma, weight"):
        assert words in out


@pytest.mark.parametrize("command", ["sweep", "evaluate", "export", "info", "list", "demo", "deploy", "guard"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: robot-rl" in capsys.readouterr().out


def test_recipes_are_valid():
    from robot_rl.commands.config_files import RECIPES, layered, read_file, recipe
    from robot_rl.commands.configuration import resolve
    from robot_rl.make import ALGORITHMS
    from robot_rl.spec_file import builtin_robots

    for path in RECIPES.glob("*.yaml"):
        task, *names = path.stem.split("-")
        values = read_file(path)
        robots, algorithms, variants = (
            [name for name in names if name in known]
            for known in (builtin_robots(), ALGORITHMS, ("camera", "randomized"))
        )
        assert len(robots) + len(algorithms) + len(variants) == len(names)
        assert len(robots) == 1 if variants else len(names) <= 1
        assert values.get("algorithm") == (algorithms[0] if algorithms else None if variants else "sac")
        assert ("camera" in variants) == values.get("observation", {}).get("camera", False)
        robot = robots[0] if robots else "go2"
        whole = recipe(task, robot, values.get("algorithm"), variants)
        resolve(layered(whole, {"task": {"name": task}, "robot": robot}), path.name)


def test_an_algorithm_is_known_for_what_it_learns_from():
    from robot_rl.algorithms.on_policy import OnPolicySettings
    from robot_rl.make import ALGORITHMS

    for algorithm in ALGORITHMS.values():
        assert issubclass(algorithm.load(algorithm.settings), OnPolicySettings) != algorithm.replay


@pytest.mark.parametrize(
    ("task", "robot"), [("walk", "go2"), ("turn_valve", "dclaw"), ("dm_control/walker-walk", None)]
)
def test_presets_suit_every_task_with_its_recipe_or_without(task, robot):
    from robot_rl.commands.config_files import PRESETS, layered, read_file, recipe
    from robot_rl.commands.configuration import resolve

    own = {"task": {"name": task}} | ({"robot": robot} if robot else {})
    for path in PRESETS.glob("*.yaml"):
        config = resolve(layered(recipe(task, robot), read_file(path.stem), own), path.name)
        assert config.algorithm_settings["batch_renorm_critic"]
        config.make_learner()


def test_a_file_goes_before_the_preset_of_its_name(tmp_path, monkeypatch):
    from robot_rl.commands.config_files import read_file

    monkeypatch.chdir(tmp_path)
    (tmp_path / "few_steps").write_text("seed: 7")
    assert read_file("few_steps") == {"seed": 7}


@pytest.mark.parametrize(
    ("task", "robot", "algorithm"), [("walk", "go2", "soft_q"), ("turn_valve", "dclaw", "sac_value")]
)
def test_an_algorithm_without_a_recipe_takes_the_recipes_other_settings(task, robot, algorithm):
    from robot_rl.commands.config_files import recipe

    recommended, other = recipe(task, robot), recipe(task, robot, algorithm)
    assert recipe(task, robot, "sac") == recommended
    assert other == {section: recommended[section] for section in recommended if section not in ("algorithm", "sac")}


@pytest.mark.parametrize(("algorithm", "knows_more"), [(None, True), ("sac", True), ("sac_value", False)])
def test_critics_know_more_of_a_randomised_robot_where_the_algorithm_has_such_critics(algorithm, knows_more):
    from robot_rl.commands.config_files import advice, layered
    from robot_rl.commands.configuration import resolve

    chosen = {"robot": "go2", "task": {"name": "walk"}, "randomize": "mild"}
    chosen |= {"algorithm": algorithm} if algorithm else {}
    assert bool(resolve(layered(advice(chosen), chosen), "test").observation.get("privileged")) == knows_more


SEEING_HAND = {"robot": "dclaw", "task": {"name": "turn_valve"}, "observation": {"camera": True}}


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({}, ["walk-go2"]),
        ({"randomize": "mild"}, ["walk-go2", "walk-go2-randomized"]),
        ({"randomize": "mild", "algorithm": "sac"}, ["walk-go2", "walk-go2-randomized"]),
        ({"randomize": "mild", "begin_with": "runs/plain"}, ["walk-go2"]),
        ({"robot": "minitaur", "randomize": "mild"}, ["walk-minitaur", "walk-minitaur-randomized"]),
        ({"robot": "minitaur", "algorithm": "ppo"}, ["walk-ppo"]),
        ({"robot": "minitaur", "algorithm": "sac_value"}, ["walk-sac_value"]),
        ({"robot": "planar_arm", "task": {"name": "reach"}, "randomize": "mild"}, ["reach-planar_arm"]),
        ({"observation": {"camera": True}}, ["walk-go2"]),
        (SEEING_HAND, ["turn_valve-dclaw", "turn_valve-dclaw-camera"]),
        ({**SEEING_HAND, "randomize": "mild"}, ["turn_valve-dclaw", "turn_valve-dclaw-camera"]),
        ({"task": {"name": "stand"}}, ["stand"]),
        ({"robot": "somebody's.yaml"}, ["walk"]),
        ({"robot": "somebody's.yaml", "algorithm": "td3", "randomize": "mild"}, ["walk-td3"]),
        ({"robot": "somebody's.yaml", "task": {"name": "reach"}}, []),
        ({"robot": "somebody's.yaml", "task": {"name": "stand"}, "algorithm": "trpo"}, []),
    ],
)
def test_the_recipe_is_the_one_for_what_was_chosen(chosen, named):
    from robot_rl.commands.config_files import RECIPES, advice, layered, read_file

    expected = layered(*(read_file(RECIPES / f"{name}.yaml") for name in named))
    assert advice({"robot": "go2", "task": {"name": "walk"}, **chosen}) == expected


@pytest.mark.parametrize("randomize", [None, "mild"])
def test_what_a_robot_does_is_the_same_with_every_algorithm(randomize):
    from robot_rl.commands.config_files import RECIPES, advice, read_file

    chosen = {"robot": "go2", "task": {"name": "walk"}, "algorithm": "ppo", "randomize": randomize}
    found = advice(chosen)
    assert found.pop("task") == read_file(RECIPES / "walk-go2.yaml")["task"]
    assert not found.pop("observation", {})  # ppo has no critics that know more
    assert found == read_file(RECIPES / "walk-ppo.yaml")


# -- what a person can get wrong --------------------------------------------------------------------------------------

WALK = ("train", "walk", "--robot", "go2")
VALVE = ("train", "turn_valve", "--robot", "dclaw")
PUSH = ("train", "push", "--robot", "planar_arm")

MISTAKES = {
    "no command of that name": (("tarin",), ["tarin", "train, sweep, evaluate"]),
    "unknown task": (("train", "wakl", "--robot", "go2"), ["wakl", "walk, stand"]),
    "unknown robot": (("train", "walk", "--robot", "go3"), ["go3", "go2"]),
    "unknown algorithm": ((*WALK, "--algorithm", "pop"), ["pop", "sac"]),
    "unknown policy": (("evaluate", "go9-walk"), ["go9-walk", "run folder"]),
    "no such file": (("evaluate", "absent/policy.onnx"), ["absent/policy.onnx"]),
    "no such robot file": (("train", "walk", "--robot", "absent.yaml"), ["absent.yaml", "No such file"]),
    "no task": (("train", "--robot", "go2"), ["no task", "walk"]),
    "no robot": (("train", "walk"), ["no robot", "go2"]),
    "unknown flag": ((*WALK, "--stpes", "3"), ["--stpes", "--steps"]),
    "unknown setting": ((*WALK, "--sac.discuont", "0.9"), ["--sac.discuont", "--sac.discount"]),
    "workers that would share robots": (
        (*WALK, "--algorithm", "a3c", "--robots", "4"),
        ["workers", "robots: 4", "a3c.workers 0"],
    ),
    "a pipeline for steps of one's own": (
        (*WALK, "--algorithm", "ppo", "--trainer.pipeline", "true"),
        ["trainer.pipeline", "replay", "ppo"],
    ),
    "a pipeline that is simulated elsewhere": (
        (*WALK, "--on", "ros", "--trainer.pipeline", "true"),
        ["trainer.pipeline", "simulation only", "ros"],
    ),
    "no ticks in a chunk": ((*WALK, "--trainer.chunk_ticks", "0"), ["chunk_ticks", "at least 1"]),
    "a pipeline and Ray": ((*WALK, "--workers", "2", "--trainer.pipeline", "true"), ["pipeline", "workers", "one of"]),
    "Ray for nobody": ((*WALK, "--ray", "auto"), ["'ray'", "--workers N"]),
    "a setting out of an inherited range": ((*WALK, "--algorithm", "td3", "--td3.tau", "2"), ["tau", "(0, 1]", "2"]),
    "setting of another type": ((*WALK, "--sac.discount", "high"), ["--sac.discount", "number", "high"]),
    "setting out of range": ((*WALK, "--sac.discount", "1.5"), ["discount", "[0, 1)", "1.5"]),
    "too few numbers": ((*WALK, "--task.forward", "0.5"), ["--task.forward", "2 arguments"]),
    "no history": ((*WALK, "--observation.history", "0"), ["observation", "history", "from 1 to 100", "0"]),
    "a history of what is not seen": (
        (*WALK, "--observation.history_of", "contacts"),
        ["contacts", "observation.history_of", "goal, gait_clock, gravity"],
    ),
    "a camera that is not there": ((*WALK, "--camera"), ["go2", "no camera", "dclaw"]),
    "a learner that cannot see": ((*VALVE, "--camera", "--algorithm", "ppo"), ["observation.camera", "ppo", "sac"]),
    "critics that could know more": (
        (*WALK, "--observation.privileged", "true", "--algorithm", "td3"),
        ["observation.privileged", "td3", "sac"],
    ),
    "what only a simulation knows": (
        (*WALK, "--observation.privileged", "true", "--on", "ros"),
        ["observation.privileged", "simulation only", "ros"],
    ),
    "an encoder of nothing": ((*VALVE, "--encoder.features", "3"), ["encoder", "observation.camera"]),
    "no filters": ((*VALVE, "--camera", "--encoder.channels", "0"), ["encoder", "channels", "positive"]),
    "a goal upside down": ((*VALVE, "--task.goal", "1", "-1"), ["turn_valve", "goal", "low to high"]),
    "a speed upside down": ((*WALK, "--task.forward", "0.9", "0.3"), ["task walk", "forward", "low to high", "0.9"]),
    "a speed without end": ((*WALK, "--task.forward", "0", "inf"), ["task.forward", "list of 2 numbers", "not finite"]),
    "negative numbers with exponents": ((*WALK, "--task.turn", "-1e-1", "-.2E+0"), ["task walk: turn", "(-0.1, -0.2)"]),
    "a start upside down": ((*PUSH, "--task.start_x", "0.9", "0.1"), ["task push", "start_x", "from low to high"]),
    "no end of a rate": ((*WALK, "--sac.actor_learning_rate", "inf"), ["actor_learning_rate", "not finite"]),
    "no whole number of steps": ((*WALK, "--steps", "-5"), ["--steps", "-5", "at least 1"]),
    "a trainer setting out of range": ((*WALK, "--trainer.batch_size", "0"), ["batch_size", "at least 1"]),
    "a sensor the robot lacks": (("train", "walk", "--robot", "dclaw"), ["orientation", "dclaw"]),
    "an object the robot lacks": (("train", "turn_valve", "--robot", "go2"), ["objects", "go2"]),
    "a robot that reach is not for": (("train", "reach", "--robot", "go2"), ["reach", "fixed base", "go2", "floating"]),
    "no threads": (("bench", "--threads", "-1"), ["--threads", "at least 0", "-1"]),
    "no such configuration": ((*WALK, "--config", "absent.yaml"), ["absent.yaml", "No such file", "few_steps"]),
    "nothing to resume": (("train", "--resume", "absent"), ["absent", "config.json"]),
    "not a run": (("export", "absent"), ["absent", "config.json"]),
    "nothing to tell about": (("info", "absent.onnx"), ["absent.onnx"]),
    "nothing to list": (("list", "robotz"), ["robotz", "robots"]),
    "no episodes": (("evaluate", "x", "--episodes", "0"), ["--episodes", "at least 1"]),
    "no seconds": (("evaluate", "x", "--seconds", "nan"), ["--seconds", "above 0"]),
    "a video of another kind": (("evaluate", "x", "--video", "x.avi"), ["x.avi", ".mp4"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line_that_says_what_is_allowed(name, failed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = MISTAKES[name]
    code, line = failed(*arguments)
    assert code == 2
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize("command", [("deploy", "--yes"), ("evaluate",), ("info",), ("export",)])
def test_a_folder_of_runs_in_place_of_one_is_told_which_it_holds(command, failed, tmp_path):
    (tmp_path / "walk-go2" / "20260101").mkdir(parents=True)
    (tmp_path / "walk-go2" / "20260101" / "config.json").write_text("{}")
    code, line = failed(*command, tmp_path / "walk-go2")
    assert code == 2
    assert f"runs in it: {tmp_path / 'walk-go2' / '20260101'}" in line


def test_deploying_for_a_robot_of_ones_own_says_that_its_file_is_needed(failed, tmp_path):
    content = shipped_policies()["go2-walk"].read_bytes()
    model, contract = unseal(content)
    path = tmp_path / "policy.onnx"
    path.write_bytes(seal(model, replace(contract, robot=replace(contract.robot, name="my_go2"))))
    code, line = failed("deploy", path, "--yes")
    assert code == 2
    assert "'my_go2'" in line
    assert "--robot my_go2.yaml" in line


@pytest.mark.parametrize("name", ["notes.txt", "today.npz"])
def test_info_about_a_file_of_another_kind_says_what_it_takes(name, failed, tmp_path):
    (tmp_path / name).write_text("name: go2")
    code, line = failed("info", tmp_path / name)
    assert code == 2
    assert "run folder, ONNX file" in line
    assert "damaged" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sac.precision", "bfloat16"),
        ("--task.pursue", "forward"),
        ("--trainer.compile", "never"),
        ("--trainer.offline", "runs/other", "--task.forward", "0.3", "0.6"),
        ("--observation.history-of", "gravity", "angular_velocity"),
        ("--sac.precision", "bfloat16", "walk", "--robot", "go2"),
        ("--sac.precision=bfloat16", "walk"),
    ],
)
def test_the_value_of_a_setting_is_not_taken_for_the_task(arguments, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("{robot: go2, task: walk}")
    assert main(["train", "--config", str(path), *arguments, "--help"]) == 0
    assert "task walk:" in capsys.readouterr().out


def _missing(robot):
    del robot["control_rate"]


def _mistyped(robot):
    robot["control_rate"] = "fifty"


def _misspelt(robot):
    robot["contol_rate"] = 50


def _reversed_limits(robot):
    joint = robot["joints"]["FL_hip_joint"]
    joint["lower"], joint["upper"] = joint["upper"], joint["lower"]


def _indivisible(robot):
    robot["simulation"]["physics_rate"] = 220


def _unknown_joint(robot):
    robot["joints"]["FL_tail_joint"] = robot["joints"].pop("FL_hip_joint")


def _unknown_sensor(robot):
    robot["sensors"]["smell"] = {}


def _no_model(robot):
    robot["simulation"]["model"] = "absent.xml"


ROBOT_FILES = {
    _missing: ["robot.yaml", "control_rate"],
    _mistyped: ["robot.yaml.control_rate", "number", "fifty"],
    _misspelt: ["contol_rate", "control_rate", "robot.yaml"],
    _reversed_limits: ["robot.yaml.joints.FL_hip_joint", "wrong way round"],
    _indivisible: ["physics_rate", "220 Hz", "multiple", "200 Hz"],
    _unknown_joint: ["FL_tail_joint", "FL_hip_joint"],
    _unknown_sensor: ["smell", "joint_position"],
    _no_model: ["simulation.model", "absent.xml"],
}


@pytest.mark.parametrize("spoil", ROBOT_FILES)
def test_a_wrong_robot_file_gets_one_line_that_names_the_key(spoil, failed, tmp_path):
    robot = yaml.safe_load((BUILTIN / "go2.yaml").read_text())
    robot["simulation"]["model"] = str((BUILTIN / robot["simulation"]["model"]).resolve())
    spoil(robot)
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(robot, sort_keys=False))
    code, line = failed("train", "walk", "--robot", path, "--out", tmp_path / "run")
    assert code == 2
    for word in ROBOT_FILES[spoil]:
        assert word in line


def test_a_robot_file_that_is_no_yaml(failed, tmp_path):
    path = tmp_path / "robot.yaml"
    path.write_text("joints: {a: [1, 2")
    code, line = failed("train", "walk", "--robot", path)
    assert code == 2
    assert "not valid YAML" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour: red", ["colour", "task, robot"]),
        ("sac: {discuont: 0.9}", ["discuont", "discount", "config.yaml"]),
        ("sac: {discount: high}", ["discount", "number", "high"]),
        ("trainer: {batch_size: 2.5}", ["batch_size", "whole number", "2.5"]),
        ("task: {name: walk, forward: 0.5}", ["forward", "list of 2 numbers"]),
        ("seed: -1", ["seed", "at least 0"]),
        ("- 1", ["mapping"]),
        ("sac: 3", ["sac", "mapping"]),
        ("a: [", ["not valid YAML"]),
        ("task: {name: 5}", ["config.yaml.task.name", "text", "int 5"]),
        ("algorithm: [sac]", ["config.yaml.algorithm", "text", "list ['sac']"]),
        ("robot: [go2]", ["config.yaml.robot", "text", "list ['go2']"]),
        ("on: {a: 1}", ["config.yaml.on", "text", "dict"]),
        ("sac: {1: 2}", ["config.yaml.sac", "unknown setting 1"]),
    ],
)
def test_a_wrong_configuration_file_gets_one_line(text, words, failed, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    code, line = failed(*WALK, "--config", path, "--out", tmp_path / "run")
    assert code == 2
    assert not (tmp_path / "run").exists()
    for word in words:
        assert word in line


def test_a_run_folder_that_exists_is_left_as_it_is(run, failed):
    before = {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))}
    code, line = failed(*WALK, "--out", run)
    assert code == 2
    assert "--resume" in line
    assert {path: path.stat().st_mtime_ns for path in sorted(run.rglob("*"))} == before


def test_resume_refuses_other_settings(run, failed):
    code, line = failed("train", "--resume", run, "--sac.discount", "0.9")
    assert code == 2
    assert "--steps" in line


def test_export_refuses_an_unknown_checkpoint(run, failed):
    code, line = failed("export", run, "--checkpoint", "777")
    assert code == 2
    assert "000000000200" in line


@pytest.mark.parametrize("kept", [0, 100, 5_000, -1])
def test_a_truncated_policy_is_refused(run, kept, failed, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes((run / "policy.onnx").read_bytes()[:kept])
    for command in ("info", "evaluate"):
        code, line = failed(command, path)
        assert code == 4
        assert "cut.onnx" in line


def test_an_edited_policy_is_refused(run, failed, tmp_path):
    content = bytearray((run / "policy.onnx").read_bytes())
    content[len(content) // 4] ^= 1
    path = tmp_path / "edited.onnx"
    path.write_bytes(bytes(content))
    code, line = failed("evaluate", path)
    assert code == 4
    assert "edited.onnx" in line


def test_a_policy_is_refused_on_another_robot(run, failed):
    code, line = failed("evaluate", run / "policy.onnx", "--robot", "minitaur")
    assert code == 4
    assert "minitaur" in line


def test_a_goal_of_the_wrong_length_names_its_parts(run, failed):
    code, line = failed("evaluate", run, "--goal", "1", "2")
    assert code == 2
    assert "expected 0" in line


def test_an_interrupt_ends_with_130(capsys, monkeypatch):
    def interrupt(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("robot_rl.commands.list_names.run", interrupt)
    assert main(["list"]) == 130


def test_a_bug_shows_its_traceback_and_ends_with_1(capsys, monkeypatch):
    def fail(_arguments):
        raise ZeroDivisionError("of a kind")

    monkeypatch.setattr("robot_rl.commands.list_names.run", fail)
    assert main(["list"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_debug_shows_where_an_error_came_from(capsys):
    assert main(["train", "walk", "--robot", "go3", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


# -- as a process -----------------------------------------------------------------------------------------------------


def _process(*arguments, cwd=None):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "robot_rl.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)


def test_results_go_to_stdout_and_complaints_to_stderr(tmp_path):
    listed = _process("list", "robots")
    assert listed.returncode == 0
    assert "go2" in listed.stdout
    assert listed.stderr == ""
    wrong = _process("evaluate", "go9-walk", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert len(wrong.stderr.splitlines()) == 1


def test_a_policy_file_runs_without_torch(run):
    done = _process("evaluate", run / "policy.onnx", "--episodes", 1, "--seconds", 0.2, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["torch_loaded"] is False


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["info"]])
def test_quick_commands_import_neither_torch_nor_a_simulator(arguments, run):
    given = [*arguments, str(run / "policy.onnx")] if arguments == ["info"] else arguments
    script = (
        f"import sys; from robot_rl.cli import main; main({given!r}); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'mujoco', 'gymnasium', 'onnx', 'matplotlib')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment).returncode == 0


def test_demo_says_so_when_go2_does_not_walk_yet():
    from robot_rl.commands import demo
    from robot_rl.errors import CheckFailed

    good, walked = {"successes": 9, "episodes": 10}, {"seconds": 10.0, "stopped": ""}
    demo.check_walks(good, walked)
    demo.check_walks(good, {"skipped": "ROS 2 is not installed"})
    with pytest.raises(CheckFailed, match="8 of 10"):
        demo.check_walks({"successes": 8, "episodes": 10}, walked)
    with pytest.raises(CheckFailed, match=r"over ROS 2 it was stopped after 2\.0 s: tilted"):
        demo.check_walks(good, {"seconds": 2.0, "stopped": "tilted by 1.01 rad, allowed 1"})


def test_demo_trains_with_commands_that_come_as_late_as_over_ros():
    """A gait learnt with commands that arrive at once falls in the twin where they happen to come some 12 ms later."""
    from robot_rl.commands.demo import configuration

    randomization = configuration(seed=0).randomization()
    assert randomization is not None
    mean, deviation = randomization.spread()["actuation_delay.delay"]
    latest = mean + np.sqrt(3.0) * deviation  # of an even spread
    assert 2.0 * mean - latest == pytest.approx(0.0, abs=1e-3)
    assert 0.012 < latest <= 0.02


def test_deploy_knows_which_policies_learnt_with_late_commands():
    from robot_rl.commands.deploy import knows_delay

    plain = {"steps": 10_000, "on": "mujoco"}
    assert not knows_delay(plain)
    assert not knows_delay({**plain, "randomize": {"mass": [0.9, 1.1]}})
    assert knows_delay({**plain, "randomize": {"mass": [0.9, 1.1], "actuation_delay": {"delay": [0.0, 0.015]}}})
    assert knows_delay({**plain, "on": "ros"})
    assert knows_delay({})  # of a policy from elsewhere nothing is said


# -- other engines and other bodies ------------------------------------------------------------------------------------


def test_a_policy_is_evaluated_in_the_engine_that_is_asked_for(capsys):
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    returns = {}
    for engine in ("mujoco", "pybullet"):
        found = printed_json(capsys, "evaluate", "go2-walk", "--sim", engine, "--episodes", 1, "--seconds", 1)
        assert found["sim"] == engine
        returns[engine] = found["return"]
    assert returns["mujoco"] != returns["pybullet"]


def test_a_run_in_another_engine_stays_in_it(tmp_path, capsys):
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    folder = tmp_path / "run"
    given = ["train", "push", "--robot", "planar_arm", "--sim", "pybullet", "--steps", "120", "--out", str(folder)]
    assert main([*given, *TINY]) == 0
    assert json.loads((folder / "config.json").read_text())["on"] == "pybullet"
    assert printed_json(capsys, "evaluate", folder, "--episodes", 1, "--seconds", 1)["sim"] == "pybullet"


def test_a_task_with_its_own_body_is_trained_evaluated_and_resumed(suite_run, capsys):
    config = json.loads((suite_run / "config.json").read_text())
    assert config["task"] == {"name": "dm_control/cartpole-balance", "repeat": 1}
    assert "robot" not in config
    assert not (suite_run / "policy.onnx").exists()
    found = printed_json(capsys, "evaluate", suite_run, "--episodes", 1)
    assert found["episodes"] == found["completed"] == 1
    # The same policy from the same start as at the end of training.
    assert found["each_return"] == json.loads((suite_run / "evaluation.json").read_text())["each_return"]
    assert printed_json(capsys, "train", "--resume", suite_run, "--steps", 201)["steps"] == 201
    assert printed_json(capsys, "info", suite_run)["config"]["task"]["name"] == "dm_control/cartpole-balance"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "dm_control/quadruped-wlk"], ["dm_control/quadruped-wlk", "dm_control/quadruped-walk"]),
        (["train", "dm_control/walker-walk", "--robot", "go2"], ["brings its own body"]),
        (["train", "dm_control/walker-walk", "--sim", "pybullet"], ["mujoco only"]),
        (["train", "dm_control/walker-walk", "--robots", "2"], ["one at a time"]),
        (["train", "stand", "--robot", "go2", "--sim", "bullet"], ["bullet", "mujoco", "pybullet"]),
        (["train", "stand", "--robot", "go2", "--sim", "pybullet", "--on", "ros"], ["contradict"]),
    ],
)
def test_engines_and_bodies_that_do_not_fit_are_refused(arguments, words, failed):
    if "dm_control" in arguments[1]:
        pytest.importorskip("dm_control", reason="dm_control is not installed (extra 'suite')")
    code, line = failed(*arguments)
    assert code == 2
    for word in words:
        assert word in line


def test_what_needs_a_robot_refuses_a_run_without_one(suite_run, failed):
    cases = (
        (["export", suite_run], "has no robot"),
        (["evaluate", suite_run, "--sim", "mujoco"], "--sim"),
        (["evaluate", suite_run, "--randomize", "strong"], "--randomize"),
    )
    for arguments, word in cases:
        code, line = failed(*arguments)
        assert code == 2
        assert word in line


def test_bench_measures_learning_simulation_policy_and_memory(capsys):
    found = printed_json(capsys, "bench", "--seconds", "0.05", "--threads", "1")
    updates, steps = found["updates"], found["steps"]
    for rates in (updates["eager"], updates["bound"], steps["one_robot"], steps["many_robots"]):
        assert 0 < rates["slowest"] <= rates["median"] <= rates["fastest"]
    assert 0 < found["policy"]["p50_us"] <= found["policy"]["p99_us"]
    # Of 90 observations and 12 actions: a row holds 104 numbers and one link.
    assert found["replay"]["megabytes"] == pytest.approx(420, abs=5)
    assert found["machine"]["cores"] >= 1
