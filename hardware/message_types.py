"""Definitions of message types, for bags: the standard ones, and a robot's own where its package is installed."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from robot_rl.errors import ConfigurationError, StorageError


class MessageTypes:
    """The message types of ROS 2 Jazzy, and more as they are met.

    A bag carries the definition of every type in it, so that its readers need no package of ours.
    """

    def __init__(self, source: str = "") -> None:
        """Loads the standard types; takes most of a second.

        Args:
            source: where messages are read from, for what is said of a damaged one.
        """
        self._source = source
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._texts: dict[str, tuple[str, str]] = {}

    def definition(self, kind: str) -> tuple[str, str]:
        """The text of a type's definition with all that it contains, and its hash.

        Args:
            kind: such as `sensor_msgs/msg/JointState`.

        Raises:
            ConfigurationError: neither a standard type nor one of an installed package.
        """
        if kind not in self._texts:
            self._learn(kind)
            text, _ = self._store.generate_msgdef(kind, ros_version=2)
            self._texts[kind] = (text, self._store.hash_rihs01(kind))
        return self._texts[kind]

    def make(self, kind: str, **fields: Any) -> Any:
        """A message of a type."""
        return self._store.types[kind](**fields)

    def to_bytes(self, message: Any, kind: str) -> bytes:
        """A message as it would go over the wire."""
        return bytes(self._store.serialize_cdr(message, kind))

    def from_bytes(self, content: bytes, kind: str) -> Any:
        """A message from the wire; its fields are named as in ROS, arrays are NumPy's.

        Raises:
            StorageError: the bytes are no such message.
        """
        try:
            return self._store.deserialize_cdr(content, kind)
        except Exception as error:  # what damaged bytes bring about is of any type
            raise self.damaged(kind, error) from error

    def damaged(self, kind: str, why: object) -> StorageError:
        """The error of a message that cannot be read."""
        place = f"{self._source}: " if self._source else ""
        return StorageError(f"{place}a message of type {kind} is damaged: {why}")

    def _learn(self, kind: str) -> None:
        if kind in self._store.types:
            return
        try:
            path = _installed(kind)
            found = get_types_from_msg(path.read_text(encoding="utf-8"), kind)
            for inner in _contained(found):
                if inner not in found:
                    self._learn(inner)
            self._store.register(found)
        except (OSError, LookupError, ValueError, TypesysError) as error:
            raise ConfigurationError(f"the definition of message type {kind} is not installed here") from error


def message_class(kind: str) -> type:
    """The class that rclpy has for a type.

    Raises:
        ConfigurationError: its package is not installed.
    """
    package, folder, name = kind.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.{folder}"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"message type {kind} is not installed here") from error


def _installed(kind: str) -> Path:
    package, folder, name = kind.split("/")
    # Where ROS is sourced its prefixes are in that variable; wheels put the same folders into the environment's own.
    for prefix in (*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix):
        path = Path(prefix) / "share" / package / folder / f"{name}.msg"
        if prefix and path.is_file():
            return path
    raise FileNotFoundError(kind)


def _contained(types: Any) -> list[str]:
    """Names of the messages inside a definition."""

    def names(description: Any) -> list[str]:
        node, value = description
        if node == Nodetype.NAME:
            return [value]
        # An array or a sequence is (element, length).
        return names(value[0]) if node in (Nodetype.ARRAY, Nodetype.SEQUENCE) else []

    return [name for _, fields in types.values() for _, description in fields for name in names(description)]
