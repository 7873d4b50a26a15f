"""What cannot be written afterwards is refused before the work: a robot that has moved does not move back."""

import os

import numpy as np
import pytest

from robot_rl.cli import main
from robot_rl.commands.writing import make_ready
from robot_rl.errors import StorageError


def test_a_folder_is_made_for_what_comes_and_nothing_is_left_in_it(tmp_path):
    make_ready(tmp_path / "a" / "b" / "result.json")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "result.json").write_text("old")
    make_ready(tmp_path / "result.json")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("result.json", "old")]


def test_a_place_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "x", tmp_path / "folder", tmp_path / ("x" * 300), "/proc/x/y"):
        with pytest.raises(StorageError, match=f"cannot write {place}"):
            make_ready(place)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file that is no folder, and logs to fit something to."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "file").write_text("old")
    flags = ["--seconds", "14", "--amplitude", "0.5"]
    assert main(["excite", "planar_arm", "--out", str(folder / "motion.npz"), *flags]) == 0
    numbers = dict.fromkeys(("command", "position", "velocity", "effort"), np.zeros((400, 3)))
    np.savez(folder / "joints.npz", interval=0.005, **numbers)
    return folder


@pytest.mark.parametrize(
    ("command", "out"),
    [
        (("transfer", "go2-walk", "--only", "delayed", "--episodes", "2", "--seconds", "0.2", "--out"), "file"),
        (("excite", "planar_arm", "--seconds", "14", "--out"), "file/held.npz"),
        (("identify", "planar_arm", "motion.npz", "--parameters", "damping", "--out"), "file/arm.yaml"),
        (("actuator", "planar_arm", "joints.npz", "--out"), "file/motors.json"),
        (("evaluate", "go2-walk", "--episodes", "1", "--seconds", "0.2", "--video"), "file/walk.mp4"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_place_that_takes_no_result_is_refused_before_the_work(command, out, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    before = sorted(os.listdir())
    assert main([*command, out]) == 2
    (line,) = capsys.readouterr().err.splitlines()  # nothing else: commands say when they begin to work
    assert line.startswith(f"robot-rl: cannot write {out}")
    assert sorted(os.listdir()) == before
