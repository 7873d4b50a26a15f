"""The folder of a run."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from robot_rl.errors import ConfigurationError, RunExists, StorageError
from robot_rl.training import files
from robot_rl.training.run import Run, run_name


def test_a_new_run_holds_settings_command_and_versions(tmp_path: Path):
    run = Run.create(tmp_path / "walk-go2" / "one", {"seed": 3, "sizes": (1, 2)}, command=["robot-rl", "train"])
    assert json.loads((run.path / "config.json").read_text()) == {"seed": 3, "sizes": [1, 2]}
    about = json.loads((run.path / "command.json").read_text())
    assert about["command"] == ["robot-rl", "train"]
    assert {"python", "torch", "numpy", "gymnasium"} <= set(about["versions"])
    assert Run.open(run.path).config == run.config == {"seed": 3, "sizes": [1, 2]}


def test_an_existing_folder_is_refused_and_left_as_it_is(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(RunExists, match=r"exists already.*--resume"):
        Run.create(tmp_path / "run", {})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious"]


@pytest.mark.parametrize(("call", "number"), [("write", 1), ("write", 2), ("fsync", 1), ("fsync", 2), ("rename", 1)])
def test_a_run_that_could_not_be_written_leaves_nothing(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls, real = [], getattr(files.os, call)

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(files.os, call, full)
    with pytest.raises(StorageError, match="No space left"):
        Run.create(tmp_path / "run", {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_runs_is_refused_and_they_are_named(tmp_path: Path):
    for name in "abcdefg":
        Run.create(tmp_path / "walk-go2" / name, {})
    with pytest.raises(ConfigurationError) as error:
        Run.open(tmp_path / "walk-go2")
    said = str(error.value)
    assert said.endswith("runs in it: ..., " + ", ".join(str(tmp_path / "walk-go2" / name) for name in "cdefg"))
    with pytest.raises(ConfigurationError, match=r"not a run: .*walk-go2/g$"):
        Run.open(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="not a run"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StorageError, match=r"config\.json is damaged"):
        Run.open(tmp_path)


def test_the_name_of_a_run_tells_time_algorithm_and_seed():
    assert run_name("sac", 7, datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)) == "20250102-030405_sac_s7"
