"""Reads bags: what is in them, and which episodes."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, ReaderError

from hardware import policy_topics
from hardware.bag_writer import UNFINISHED
from hardware.message_types import MessageTypes
from hardware.policy_topics import PolicyMessages
from hardware.recorder import Record
from robot_rl.errors import ConfigurationError, StorageError


@dataclass(frozen=True)
class TopicSummary:
    """One topic of a bag."""

    name: str
    kind: str
    count: int
    """Messages."""
    rate: float
    """Hz, mean while a file was being written; NaN with less than two messages in a file."""
    longest_gap: float
    """s between two messages of a file."""
    gaps: int
    """Pauses of more than three usual ones."""


@dataclass(frozen=True)
class Episode:
    """One episode of a bag."""

    file: Path
    about: Mapping[str, Any]
    """What was said at its beginning: number, robot, task, labels, goal."""
    begin: int
    """ns since 1970."""
    end: int
    """ns since 1970; of the file's last message where the end is missing."""
    ended: Mapping[str, Any] = field(default_factory=dict)
    """What was said at its end: reason, stamp, lost; empty where it is missing."""
    ticks: int = 0
    """Answers of the policy."""

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return 1e-9 * (self.end - self.begin)


class Bag:
    """A bag's folder, or one MCAP file of it.

    Attributes:
        files: the MCAP files, in order.
        unfinished: files that a recording left behind when it was cut off; not read.
    """

    def __init__(self, path: str | Path) -> None:
        """Finds the files; nothing is read yet.

        Args:
            path: folder or file.

        Raises:
            ConfigurationError: no bag is there.
        """
        self.path = Path(path)
        if self.path.is_dir():
            self.files = sorted(self.path.glob("*.mcap"))
            self.unfinished = sorted((self.path / UNFINISHED).glob("*/*.mcap"))
        else:
            self.files = [self.path] if self.path.is_file() and self.path.suffix == ".mcap" else []
            self.unfinished = []
        if not self.files and not self.unfinished:
            raise ConfigurationError(f"there is no bag at {path}: expected an MCAP file, or a folder with some")
        self._spans: dict[Path, tuple[int, int]] = {}
        self.types = MessageTypes(source=str(self.path))
        self._policy = PolicyMessages(self.types)

    def records(
        self,
        topics: Collection[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
        files: Sequence[Path] | None = None,
    ) -> Iterator[Record]:
        """The messages, file by file in the order of their times; those that two files share come once.

        Args:
            topics: full names; all by default.
            start: ns since 1970.
            stop: ns since 1970, exclusive.
            files: some of `self.files`; all by default.

        Raises:
            StorageError: a file is damaged.
        """
        for _, record in self._records(self.files if files is None else files, topics, start, stop):
            yield record

    def _records(
        self,
        files: Sequence[Path],
        topics: Collection[str] | None = None,
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[tuple[Path, Record]]:
        """As `records`, each with its file."""
        times: dict[str, array[int]] = {}
        for path in files:
            if (start is not None or stop is not None) and not self._overlaps(path, start, stop):
                continue
            with _reading(path) as reader:
                # By their very times: a clock that was set back between two files makes what is new look old.
                begin = reader.start_time
                before = {topic: {time for time in of_topic if time >= begin} for topic, of_topic in times.items()}
                wanted = [c for c in reader.connections if topics is None or c.topic in topics]
                for connection, time, content in reader.messages(wanted, start, stop) if wanted else ():
                    if time not in before.get(connection.topic, ()):
                        times.setdefault(connection.topic, array("q")).append(time)
                        yield path, Record(time, connection.topic, connection.msgtype, bytes(content))

    def _overlaps(self, path: Path, start: int | None, stop: int | None) -> bool:
        """Whether a file has anything of that time; a bag of many files is else opened far too often."""
        if path not in self._spans:
            with _reading(path) as reader:
                self._spans[path] = reader.start_time, reader.end_time
        begins, ends = self._spans[path]
        return (start is None or ends > start) and (stop is None or begins < stop)

    def kinds(self) -> dict[str, str]:
        """Type of each topic."""
        found: dict[str, str] = {}
        for path in self.files:
            with _reading(path) as reader:
                found |= {connection.topic: connection.msgtype for connection in reader.connections}
        return found

    def summary(self) -> list[TopicSummary]:
        """Every topic, by name."""
        kinds = self.kinds()
        times: dict[str, dict[Path, array[int]]] = {topic: {} for topic in kinds}
        for path, record in self._records(self.files):
            times[record.topic].setdefault(path, array("q")).append(record.time)
        by_file = {topic: [np.array(part) for part in parts.values()] for topic, parts in times.items()}
        return [_summary(topic, kinds[topic], by_file[topic]) for topic in sorted(kinds)]

    def markers(self) -> list[tuple[Path, int, Mapping[str, Any]]]:
        """File, time in ns, and content of every marker of an episode or a part.

        Raises:
            StorageError: a file is damaged, or a marker in it.
        """
        topics = [topic for topic in self.kinds() if topic.endswith("/" + policy_topics.EPISODE)]
        return [
            (path, record.time, self._policy.read_episode(record.content))
            for path in self.files
            for record in (self.records(topics, files=[path]) if topics else ())
        ]

    def episodes(self) -> list[Episode]:
        """The episodes, in order."""
        found = []
        markers = self.markers()
        for index, (path, time, about) in enumerate(markers):
            if about["event"] != "begin":
                continue
            ticks = self._count(path, topic_of(about, policy_topics.ACTION))
            after = markers[index + 1] if index + 1 < len(markers) else None
            if after is not None and after[2]["event"] == "end":
                found.append(Episode(path, about, time, after[1], after[2], ticks))
            else:
                last = max((record.time for record in self.records(files=[path])), default=time)
                found.append(Episode(path, about, time, last, {}, ticks))
        return found

    @staticmethod
    def _count(path: Path, topic: str) -> int:
        with _reading(path) as reader:
            return sum(connection.msgcount for connection in reader.connections if connection.topic == topic)


def topic_of(about: Mapping[str, Any], name: str) -> str:
    """Full name of a topic of the robot that a marker tells of; names with a slash in front are full already."""
    namespace = str(about.get("namespace", "")).strip("/")
    return name if name.startswith("/") else f"/{namespace}/{name}" if namespace else f"/{name}"


@contextmanager
def _reading(path: Path) -> Iterator[Reader]:
    try:
        reader = Reader(path)
        reader.open()
    except (ReaderError, OSError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    except Exception as error:  # what a damaged file brings about inside the reader is of any type
        raise StorageError(f"{path} is damaged: {error}") from error
    try:
        yield reader
    except Exception as error:  # likewise; nobody else's code runs in here
        raise StorageError(f"{path} is damaged: {error}") from error
    finally:
        reader.close()


def _summary(topic: str, kind: str, times: list[NDArray[np.int64]]) -> TopicSummary:
    pauses = np.concatenate([1e-9 * np.diff(part) for part in times] or [np.zeros(0)])  # s
    count = sum(len(part) for part in times)
    if not len(pauses):
        return TopicSummary(topic, kind, count, float("nan"), float("nan"), 0)
    usual = float(np.median(pauses))
    rate = len(pauses) / max(float(pauses.sum()), 1e-9)
    return TopicSummary(topic, kind, count, rate, float(pauses.max()), int((pauses > 3.0 * usual).sum()))
