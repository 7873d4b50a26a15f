"""Checkpoints: what goes in comes out, a full disk or a crash costs nothing that was saved before."""

import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_rl.errors import StorageError
from robot_rl.training import files
from robot_rl.training.checkpoint import (
    checkpoints,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from robot_rl.training.replay import Replay
from robot_rl.training.state import State


def example(number: float) -> State:
    return State(
        tensors={"w/weight": torch.full((3, 2), number), "step": torch.tensor(number)},
        arrays={"a/offset": np.array([number, np.nan]), "resetting": np.array([True, False])},
        values={"count": number, "generator": {"state": 2**100}, "list": [1, "two", None]},
    )


def number_in(folder: Path) -> float:
    place = latest_checkpoint(folder)
    assert place is not None
    return load_checkpoint(place).values["count"]


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path):
    place = save_checkpoint(tmp_path, 5, example(1.5))
    assert latest_checkpoint(tmp_path) == place
    state, truth = load_checkpoint(place), example(1.5)
    assert state.values == truth.values
    for name, tensor in truth.tensors.items():
        assert torch.equal(state.tensors[name], tensor)
        assert state.tensors[name].dtype == tensor.dtype
    for name, array in truth.arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array)
        assert state.arrays[name].dtype == array.dtype


def test_there_is_no_checkpoint_at_first(tmp_path: Path):
    assert latest_checkpoint(tmp_path / "none") is None


def test_nothing_is_pickled(tmp_path: Path):
    place = save_checkpoint(tmp_path, 1, example(1.0))
    assert sorted(path.name for path in place.iterdir()) == [
        "arrays.npz", "manifest.json", "tensors.safetensors", "values.json",
    ]  # fmt: skip
    for path in place.iterdir():
        with pytest.raises((pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError)):
            pickle.loads(path.read_bytes())
    with pytest.raises(StorageError, match="pickle"):
        save_checkpoint(tmp_path, 2, State(arrays={"things": np.array([object()])}))


class Disk:
    """Stands before os.write and friends; full at the n-th call, having written half of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.full_at: int | None = None
        for name in ("write", "fsync", "replace", "rename"):
            monkeypatch.setattr(files.os, name, self._limited(getattr(os, name), name == "write"))

    def _limited(self, call, writes):
        def limited(*args):
            self.calls += 1
            if self.calls == self.full_at:
                if writes:
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        return limited

    def fill_at(self, call: int) -> None:
        self.calls, self.full_at = 0, call


def test_a_disk_that_is_full_at_any_stage_of_a_save_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk = Disk(monkeypatch)
    folder, segments = tmp_path / "checkpoints", tmp_path / "replay"
    replay = Replay(100, 1, 1)

    def save(step: int) -> None:
        one = np.full((3, 1), step, np.float32)
        replay.add(one, one, one[:, 0], one, one[:, 0] * 0)
        state = example(float(step))
        state = State.join({"replay": replay.save_to(segments), "rest": state})
        state.values["count"] = float(step)
        save_checkpoint(folder, step, state)

    save(1)
    for call in range(1, 100):
        disk.fill_at(call)
        message = ""
        try:
            save(1 + call)
        except StorageError as error:
            message = str(error)
        if not message:
            break
        assert "No space left on device" in message
        assert "\n" not in message
        number = number_in(folder)
        place = latest_checkpoint(folder)
        assert place is not None
        # The old one, or the new one if only the last flush of a folder failed; whole in either case.
        assert number in (1.0, 1.0 + call)
        restored = Replay(100, 1, 1)
        restored.load_from(segments, load_checkpoint(place).part("replay"))
        assert restored.sample(50).reward.max() == number
        if number != 1.0:
            break
    assert call > 15  # five files and three renames, each flushed: all were met
    disk.fill_at(-1)
    save(1000)
    assert number_in(folder) == 1000.0
    prune_checkpoints(folder, 1)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_disk_with_a_real_limit_on_file_size_refuses_in_one_line(tmp_path: Path):
    resource = pytest.importorskip("resource")
    import signal

    save_checkpoint(tmp_path, 1, example(1.0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(StorageError, match="could not write"):
            save_checkpoint(tmp_path, 2, State(tensors={"large": torch.zeros(10_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert number_in(tmp_path) == 1.0


@pytest.mark.parametrize("name", ["tensors.safetensors", "arrays.npz", "values.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_a_damaged_file_is_refused_by_its_name(name: str, damage: str, tmp_path: Path):
    path = save_checkpoint(tmp_path, 1, example(1.0)) / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[:-3])
    else:
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    with pytest.raises(StorageError, match=name):
        load_checkpoint(path.parent)


def test_the_error_of_a_damaged_checkpoint_names_the_older_one(tmp_path: Path):
    save_checkpoint(tmp_path, 1, example(1.0))
    (save_checkpoint(tmp_path, 2, example(2.0)) / "values.json").write_text("{}")
    with pytest.raises(StorageError, match="older checkpoint is 000000000001"):
        number_in(tmp_path)
    (tmp_path / "latest").write_text("000000000001\n")
    assert number_in(tmp_path) == 1.0


def test_a_pointer_to_nothing_lists_what_there_is(tmp_path: Path):
    save_checkpoint(tmp_path, 1, example(1.0))
    (tmp_path / "latest").write_text("000000000009\n")
    with pytest.raises(StorageError, match="checkpoints: 000000000001"):
        latest_checkpoint(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path):
    path = save_checkpoint(tmp_path, 1, example(1.0)) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StorageError, match="format 99"):
        load_checkpoint(path.parent)


def test_pruning_keeps_the_newest_and_the_one_to_resume_from(tmp_path: Path):
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, step, example(step))
    (tmp_path / "latest").write_text("000000000002\n")
    (tmp_path / ".000000000005.tmp").mkdir()
    prune_checkpoints(tmp_path, 1)
    assert [path.name for path in checkpoints(tmp_path)] == ["000000000002"]  # a run that went back goes another way
    assert not (tmp_path / ".000000000005.tmp").exists()


def test_a_folder_left_by_a_crash_before_its_pointer_is_written_anew(tmp_path: Path):
    save_checkpoint(tmp_path, 1, example(1.0))
    save_checkpoint(tmp_path, 2, example(2.0))
    (tmp_path / "latest").write_text("000000000001\n")
    save_checkpoint(tmp_path, 2, example(7.0))
    assert number_in(tmp_path) == 7.0


def test_states_join_under_prefixes_and_part_again():
    joined = State.join({"one": example(1.0), "two": State.join({"deep": example(2.0)})})
    assert joined.part("one").values == example(1.0).values
    assert torch.equal(joined.part("two").part("deep").tensors["step"], torch.tensor(2.0))
    assert set(joined.part("none").values) == set()


def test_a_tree_of_anything_a_simulator_may_hold_survives():
    tree = {
        "state": np.arange(3.0),
        "rng": {"bit_generator": "PCG64", "state": {"state": 2**127, "inc": 1}},
        "rows": [np.array([True]), {"nan": float("nan"), "inf": -np.inf, "tenth": 0.1}],
        "none": None, "empty": {}, "flag": True, "scalar": np.float32(0.5), "a/b": 1,
    }  # fmt: skip
    state = State.of_tree(tree)
    state.values = json.loads(json.dumps(state.values, allow_nan=False))
    back = state.tree()
    np.testing.assert_array_equal(back["state"], tree["state"])
    np.testing.assert_array_equal(back["rows"][0], [True])
    assert np.isnan(back["rows"][1].pop("nan"))
    assert back["rows"][1] == {"inf": -np.inf, "tenth": 0.1}
    assert back["rng"] == tree["rng"]
    assert (back["none"], back["empty"], back["flag"], back["scalar"], back["a/b"]) == (None, {}, True, 0.5, 1)
    with pytest.raises(StorageError, match="object"):
        State.of_tree({"thing": object()})
