"""Checkpoints: one folder each, appearing whole or not at all, and a pointer to the newest.

    checkpoints/
      000000010000/            named by the step
        tensors.safetensors    weights, optimiser moments, torch generator
        arrays.npz             numpy arrays
        values.json            counts, generators, references to replay segments
        manifest.json          size and SHA-256 of the three
      latest                   the name of the folder to resume from

Nothing here is pickled: a checkpoint from a stranger cannot run code.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch

from robot_rl.errors import StorageError
from robot_rl.training.files import place_folder, read_checked, replace_file, sha256, storing, to_json
from robot_rl.training.state import State

FORMAT = 1
LATEST = "latest"


def save_checkpoint(folder: Path, step: int, state: State) -> Path:
    """Writes a checkpoint and then points `latest` at it.

    Args:
        folder: the folder of all checkpoints of a run; made if it is missing.
        step: environment steps so far; names the checkpoint.
        state: what to keep.

    Returns:
        The folder of this checkpoint.

    Raises:
        StorageError: the disk is full or not writable; the earlier checkpoints and `latest` are untouched.
    """
    pickled = [name for name, array in state.arrays.items() if array.dtype.hasobject]
    if pickled:
        raise StorageError(f"{', '.join(pickled)}: arrays of Python objects are not saved, as that takes pickle")
    arrays = io.BytesIO()
    np.savez(arrays, **state.arrays)  # type: ignore[arg-type]
    contents = {
        "tensors.safetensors": safetensors.torch.save(state.tensors),
        "arrays.npz": arrays.getvalue(),
        "values.json": to_json(state.values),
    }
    manifest = {
        "format": FORMAT,
        "step": step,
        "files": {name: {"bytes": len(data), "sha256": sha256(data)} for name, data in contents.items()},
    }
    place = folder / f"{step:012d}"
    with storing(place):
        folder.mkdir(parents=True, exist_ok=True)
        if place.exists():
            # Left by a run that was killed between the folder and its pointer, or saved twice at one step.
            if latest_checkpoint(folder) == place:
                return place
            shutil.rmtree(place)
    place_folder(place, {**contents, "manifest.json": to_json(manifest)})
    replace_file(folder / LATEST, f"{place.name}\n".encode())
    return place


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to resume from; None if there is none.

    Raises:
        StorageError: `latest` names a folder that is not there.
    """
    pointer = folder / LATEST
    if not pointer.exists():
        return None
    place = folder / pointer.read_text().strip()
    if not place.is_dir():
        raise StorageError(f"{pointer} names '{place.name}', which is not there; checkpoints: {_names(folder)}")
    return place


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, oldest first; folders whose writing was cut short are not among them."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name.isdigit())


def _names(folder: Path) -> str:
    return ", ".join(path.name for path in checkpoints(folder)) or "none"


def load_checkpoint(place: Path) -> State:
    """Reads a checkpoint and checks every byte of it.

    Raises:
        StorageError: a file is missing or damaged (names it), or the format is not known.
    """
    manifest = _read_manifest(place)
    try:
        contents = {
            name: read_checked(place / name, entry["bytes"], entry["sha256"])
            for name, entry in manifest["files"].items()
        }
    except StorageError as error:
        older = [path.name for path in checkpoints(place.parent) if path.name < place.name]
        if not older:
            raise
        raise StorageError(
            f"{error}. An older checkpoint is {older[-1]}: write that name into {place.parent / LATEST} to use it"
        ) from error
    name = ""
    try:
        name = "tensors.safetensors"
        tensors = safetensors.torch.load(contents[name])
        name = "arrays.npz"
        with np.load(io.BytesIO(contents[name]), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        name = "values.json"
        values = json.loads(contents[name])
    except (KeyError, ValueError, zipfile.BadZipFile, safetensors.SafetensorError) as error:
        raise StorageError(f"{place / name} is damaged: {error}") from error
    return State(tensors, arrays, values)


def load_values(place: Path) -> dict[str, Any]:
    """Only the plain values of a checkpoint."""
    entry = _read_manifest(place)["files"]["values.json"]
    return json.loads(read_checked(place / "values.json", entry["bytes"], entry["sha256"]))


def _read_manifest(place: Path) -> dict[str, Any]:
    path = place / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["format"]
        manifest["files"] = {
            name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            for name, entry in manifest["files"].items()
        }
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{path} is damaged: it is not the list of files that was written") from error
    if version != FORMAT:
        raise StorageError(f"{path} has format {version}, this version reads {FORMAT}")
    return manifest


def prune_checkpoints(folder: Path, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints up to the one that `latest` names, and unfinished writes.

    Those beyond it are of a past that a run went back from, since one was damaged; nothing can go on from them, as
    metrics and replay have gone another way.
    """
    newest, found = latest_checkpoint(folder), checkpoints(folder)
    kept = [place for place in found if newest is None or place.name <= newest.name][-keep:]
    for place in found:
        if place not in kept:
            shutil.rmtree(place, ignore_errors=True)
    for unfinished in folder.glob(".*.tmp"):
        shutil.rmtree(unfinished, ignore_errors=True)
