"""Writes a ROS 2 bag that grows by whole files: one MCAP file for each episode, or for each stretch of time.

What is being written lies in the folder `unfinished`, and moves into the bag when it is complete and on the disk. So
a kill, or a full disk, costs the file in hand and never those before it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml
from rosbags.rosbag2 import StoragePlugin, Writer

from hardware.message_types import MessageTypes
from robot_rl.errors import ConfigurationError
from robot_rl.training.files import replace_file, storing, sync_folder

UNFINISHED = "unfinished"
METADATA = "metadata.yaml"
_VERSION: Literal[9] = 9
"""Of the bag's metadata, the one of ROS 2 Jazzy."""
_HEAD = "rosbag2_bagfile_information"


class BagWriter:
    """A bag's folder; one file of it is open at a time.

    Attributes:
        folder: the bag.
        files: names of the files that are complete.
    """

    def __init__(self, folder: Path, types: MessageTypes, about: Mapping[str, str]) -> None:
        """Makes the folder.

        Args:
            folder: new, or empty.
            types: definitions of messages.
            about: goes into the bag's metadata as `custom_data`.

        Raises:
            ConfigurationError: the folder holds something.
            StorageError: it cannot be made.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigurationError(f"{folder} exists already and is not empty; a recording never overwrites another")
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.files: list[str] = []
        self._types = types
        self._about = dict(about)
        self._parts: list[Mapping[str, Any]] = []
        self._writer: Writer | None = None
        self._connections: dict[tuple[str, str], Any] = {}

    @property
    def open(self) -> bool:
        """Whether a file is being written."""
        return self._writer is not None

    def begin(self, name: str) -> None:
        """Opens a file; its name without `.mcap`.

        Raises:
            StorageError: the disk is full or not writable.
        """
        with storing(self.folder):
            writer = Writer(self.folder / UNFINISHED / name, version=_VERSION, storage_plugin=StoragePlugin.MCAP)
            for key, value in self._about.items():
                writer.set_custom_data(key, value)
            writer.open()
        self._writer = writer
        self._connections = {}

    def write(self, topic: str, kind: str, time: int, content: bytes) -> None:
        """Adds a message to the open file.

        Args:
            topic: full name.
            kind: type, such as `sensor_msgs/msg/Imu`.
            time: ns since 1970, when it was received or made.
            content: as it went over the wire.

        Raises:
            StorageError: the disk is full or not writable.
        """
        assert self._writer is not None
        with storing(self.folder):
            connection = self._connections.get((topic, kind))
            if connection is None:
                text, digest = self._types.definition(kind)
                connection = self._writer.add_connection(topic, kind, msgdef=text, rihs01=digest)
                self._connections[topic, kind] = connection
            self._writer.write(connection, time, content)

    def finish(self) -> None:
        """Completes the open file and takes it into the bag.

        Raises:
            StorageError: the disk is full or not writable.
        """
        writer = self._writer
        assert writer is not None
        with storing(self.folder):
            writer.close()
            self._writer = None
            place = writer.path
            part = yaml.safe_load((place / METADATA).read_text(encoding="utf-8"))[_HEAD]
            (name,) = part["relative_file_paths"]
            _to_disk(place / name)
            os.rename(place / name, self.folder / name)
            self._parts.append(part)
            self.files.append(name)
            replace_file(self.folder / METADATA, _merged(self._parts))
            shutil.rmtree(self.folder / UNFINISHED)

    def discard(self) -> None:
        """Gives the open file up, and its place on the disk back."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.abort()
        shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _merged(parts: list[Mapping[str, Any]]) -> bytes:
    """The metadata of a bag of several files, as rosbag2 writes it for a bag that it has split."""
    begins = [part["starting_time"]["nanoseconds_since_epoch"] for part in parts]
    ends = [begin + part["duration"]["nanoseconds"] for begin, part in zip(begins, parts, strict=True)]
    topics: dict[tuple[str, str], dict[str, Any]] = {}
    for part in parts:
        for entry in part["topics_with_message_count"]:
            about = entry["topic_metadata"]
            known = topics.setdefault((about["name"], about["type"]), {"topic_metadata": about, "message_count": 0})
            known["message_count"] += entry["message_count"]
    values = {
        **parts[0],
        "relative_file_paths": [name for part in parts for name in part["relative_file_paths"]],
        "files": [entry for part in parts for entry in part["files"]],
        "starting_time": {"nanoseconds_since_epoch": min(begins)},
        "duration": {"nanoseconds": max(ends) - min(begins)},
        "message_count": sum(part["message_count"] for part in parts),
        "topics_with_message_count": list(topics.values()),
    }
    return yaml.safe_dump({_HEAD: values}, sort_keys=False).encode()
