"""Sweeps: every combination is a run of its own, trained once, and the same command goes on where it was stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robot_rl.cli import main
from robot_rl.commands.sweep import planned

ROOT = Path(__file__).parents[2]
TINY = """
robot: go2
task: stand
sac: {hidden_sizes: [8]}
trainer: {total_steps: 120, start_steps: 60, batch_size: 8, log_interval: 60, evaluation_interval: 0, threads: 1}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_a_plan_has_every_combination_with_every_seed_and_its_whole_configuration(config):
    plan = planned(str(config), [("sac.discount", [0.9, 0.99]), ("task.name", ["stand", "walk"])], [0, 7])
    assert list(plan) == [
        f"discount={discount}_name={task}_s{seed}"
        for discount in (0.9, 0.99)
        for task in ("stand", "walk")
        for seed in (0, 7)
    ]
    chosen, resolved = plan["discount=0.9_name=walk_s7"]
    assert chosen == {"sac.discount": 0.9, "task.name": "walk"}
    assert (resolved.task, resolved.seed, resolved.trainer["seed"]) == ("walk", 7, 7)
    assert (resolved.algorithm_settings["discount"], resolved.trainer["total_steps"]) == (0.9, 120)


def test_values_that_differ_in_a_sign_are_runs_of_their_own(config):
    speeds = [[-0.3, 0.6], [0.3, 0.6], [-0.6, -0.3]]
    settings = [("sac.target_entropy", [-6, 6]), ("task.name", ["walk"]), ("task.forward", speeds)]
    plan = planned(str(config), settings, [0])
    assert list(plan) == [
        f"target_entropy={entropy}_name=walk_forward={forward}_s0"
        for entropy in ("-6", "6")
        for forward in ("-0.3-0.6", "0.3-0.6", "-0.6--0.3")
    ]
    trained = {(run.algorithm_settings["target_entropy"], run.task_settings["forward"]) for _, run in plan.values()}
    assert len(trained) == 6


def test_without_seeds_a_sweep_has_the_seed_of_its_file(config):
    assert list(planned(str(config), [])) == ["s0"]
    config.write_text(TINY + "seed: 5\n")
    (name, (_, run)), *others = planned(str(config), []).items()
    assert (name, run.seed, run.trainer["seed"], others) == ("s5", 5, 5, [])
    assert list(planned(str(config), [], [1, 2])) == ["s1", "s2"]


def test_a_sweep_is_runs_with_a_table_and_the_configuration_of_one_of_them_sweeps_again(config, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sweep", str(config), "--set", "sac.discount=0.9,0.99", "--seeds", "3", "--at-once", "2"]
    assert main([*command, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "sweep.json").read_text())["runs"]
    assert [one["settings"] for one in found] == [{"sac.discount": 0.9}, {"sac.discount": 0.99}]
    for one in found:
        run = out / Path(one["run"]).name
        assert one["return"] == json.loads((run / "evaluation.json").read_text())["return"]
        assert (one["exit_code"], one["steps"], one["seed"]) == (0, 120, 3)
        assert (run / "policy.onnx").is_file()
    before = (out / "discount=0.9_s3" / "metrics.jsonl").stat()
    assert main([*command, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["sac.discount", "seeds"]
    assert [line.split()[:4] for line in lines[1:]] == [["0.9", "1", "of", "1"], ["0.99", "1", "of", "1"]]
    assert (out / "discount=0.9_s3" / "metrics.jsonl").stat() == before  # nothing was trained again
    assert list(planned(str(out / "discount=0.9_s3" / "config.json"), [], [4])) == ["s4"]


def test_a_sweep_that_is_stopped_saves_its_runs_and_goes_on_with_the_same_command(config, tmp_path):
    config.write_text(TINY.replace("total_steps: 120", "total_steps: 9_000"))
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "robot_rl.cli", "sweep", str(config), "--seeds", "0", "1", "--out", str(out)]
    sweep = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    metrics, deadline = out / "s0" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.is_file() and metrics.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    sweep.send_signal(signal.SIGINT)
    said = sweep.communicate()[1]
    assert sweep.returncode == 130
    assert "the same command goes on with them" in said
    (saved,) = (out / "s0" / "checkpoints").glob("0*")
    assert 60 <= int(saved.name) < 9_000
    assert not (out / "s1" / "checkpoints").exists()
    # The last line of the first run's own output says that it was stopped and has saved.
    assert "interrupted at step" in (out / "s0" / "output.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "sac.discuont=0.9"], ["discuont", "discount"]),
        (["--set", "sac.discount=0.9,1.5"], ["discount", "[0, 1)", "1.5"]),
        (["--set", "sac=0.9"], ["'sac'", "sac.NAME"]),
        (["--set", "sac.discount"], ["NAME=VALUE"]),
        (["--set", "seed=1", "--set", "seed=2"], ["twice", "seed"]),
        (["--set", "seed=1,2"], ["seed", "--seeds"]),
        (["--set", "trainer.seed=1"], ["trainer.seed", "--seeds"]),
        (["--set", "sac.discount=0.9,0.90"], ["sac.discount=0.9", "both", "discount=0.9_s0"]),
        (["--set", "begin_with=a/b,a b"], ["begin_with=a/b", "begin_with=a b", "begin_with=a-b_s0"]),
        (["--set", "trainer.total_steps=[1"], ["not values"]),
        (["--set", "algorithm=[sac]"], ["algorithm", "text"]),
        (["--set", "task.name=5"], ["task.name", "text", "int 5"]),
        (["--set", "ray.workers=2"], ["simulation", "process of its own"]),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(arguments, words, config, failed, tmp_path):
    code, line = failed("sweep", config, "--out", tmp_path / "out", *arguments)
    assert code == 2
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_sweep_is_left_as_it_is(config, failed, tmp_path):
    (tmp_path / "out" / "s0").mkdir(parents=True)
    code, line = failed("sweep", config, "--out", tmp_path / "out")
    assert code == 2
    assert "with other settings" in line
