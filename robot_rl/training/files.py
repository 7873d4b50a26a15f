"""Files that are either whole or absent: written beside, flushed to the disk, then renamed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robot_rl.errors import StorageError


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turns an OSError into a StorageError of one line that names `path`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"could not write {path}: {reason}; what was saved before is untouched. "
            "Free some space or check the rights, then resume the run"
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes and flushes one file in place; the only function here that puts bytes on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder as durable as the files behind them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, meets the old content or the new and nothing between.

    Raises:
        StorageError: the disk is full or not writable; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with storing(path):
        try:
            write_bytes(beside, content)
            os.replace(beside, path)
            sync_folder(path.parent)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def place_folder(path: Path, files: dict[str, bytes]) -> None:
    """Writes a folder of files that appears under its name only when all of them are on the disk.

    Raises:
        StorageError: the disk is full or not writable; nothing appears under the name.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with storing(path):
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for name, content in files.items():
                write_bytes(beside / name, content)
            sync_folder(beside)
            os.rename(beside, path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def read_checked(path: Path, size: int, digest: str) -> bytes:
    """Reads a file and compares it with what was written.

    Raises:
        StorageError: the file is missing, has another length or another hash; names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error
    if len(content) != size:
        raise StorageError(f"{path} is damaged: it has {len(content)} bytes, {size} were written")
    if sha256(content) != digest:
        raise StorageError(f"{path} is damaged: its SHA-256 is not the one that was recorded")
    return content


def finite(value: Any) -> Any:
    """A value of dictionaries, lists and numbers for JSON: null where a number is not finite, as JSON has none such."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any) -> bytes:
    """JSON with an indent, for people; refuses NaN, which JSON does not have."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
