"""Asking a person at the terminal, and how settings of a robot over ROS are given."""

import json
import os
import sys
import threading

import pytest

from robot_rl.cli import main
from robot_rl.commands.config_files import read_file
from robot_rl.commands.configuration import resolve
from robot_rl.commands.real_time import ask_person
from robot_rl.errors import ConfigurationError, HelpNeeded, LearnerEnded, UnknownName

WALK = {"robot": "go2", "task": {"name": "walk"}}


def test_without_a_terminal_nobody_is_asked():
    with pytest.raises(HelpNeeded, match="put it on its feet; there is no terminal to ask at"):
        ask_person("put it on its feet", lambda: None)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    """The other end of a terminal that stands where standard input was."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def test_enter_at_the_terminal_goes_on(terminal: int, capsys):
    threading.Timer(0.3, os.write, (terminal, b"\n")).start()
    ask_person("put it on its feet", lambda: None)
    assert "put it on its feet, then press Enter" in capsys.readouterr().err


def test_what_happens_while_a_person_is_asked_is_noticed(terminal: int):
    def check() -> None:
        raise LearnerEnded("gone")

    with pytest.raises(LearnerEnded, match="gone"):
        ask_person("put it on its feet", check)


def test_a_configuration_remembers_where_the_robot_lives(tmp_path):
    config = resolve({**WALK, "on": "ros", "ros": {"namespace": "a"}, "real_time": {"max_falls": 3}}, "test")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert resolve(read_file(path), "again") == config
    assert config.to_dict()["on"] == "ros"
    assert config.ros["namespace"] == "a"
    assert (config.real_time["max_falls"], config.real_time["max_minutes"]) == (3, None)


def test_the_bare_word_on_is_a_key_in_a_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("on: ros\nrobot: go2\n")
    assert read_file(path) == {"on": "ros", "robot": "go2"}


def test_in_lock_step_there_is_no_real_time():
    config = resolve({**WALK, "on": "ros", "ros": {"lock_step": True}}, "test")
    assert config.real_time == {}
    assert "real_time" not in config.to_dict()
    with pytest.raises(ConfigurationError, match="settings of 'real_time' do not apply, in lock step time waits"):
        resolve({**WALK, "on": "ros", "ros": {"lock_step": True}, "real_time": {"max_falls": 3}}, "test")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"on": "moon"}, "unknown place 'moon' in test.on; allowed: mujoco, pybullet, ros"),
        ({"ros": {"namespace": "a"}}, "settings of 'ros' do not apply, the robot is on 'mujoco'"),
        ({"real_time": {"max_falls": 3}}, "settings of 'real_time' do not apply, the robot is on 'mujoco'"),
        ({"on": "ros", "robots": 2}, "over ROS one robot trains, got 2"),
        ({"on": "ros", "ros": {"reset": "jump"}}, "unknown reset 'jump' in ros; allowed: auto, stand_up"),
        ({"on": "ros", "ros": {"topic": "x"}}, "unknown setting 'topic' in test.ros"),
    ],
)
def test_what_cannot_be_is_refused(values, message: str):
    with pytest.raises((ConfigurationError, UnknownName), match=message):
        resolve({**WALK, **values}, "test")


def test_limits_of_real_time_do_not_resume_a_run_in_simulation(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(resolve(WALK, "test").to_dict()))
    assert main(["train", "--resume", str(run), "--max-falls", "3"]) == 2
    assert "are for runs in real time" in capsys.readouterr().err
