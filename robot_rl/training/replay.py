"""Replay: a ring of transitions in memory, and its copy on the disk that survives a crash."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.algorithms.learner import Batch
from robot_rl.errors import ConfigurationError, InvalidInput, StorageError
from robot_rl.training.files import read_checked, replace_file, sha256, storing
from robot_rl.training.linked_rows import LinkedRows
from robot_rl.training.pictures import Pictures
from robot_rl.training.state import State


class Replay:
    """The last `capacity` transitions, sampled uniformly with replacement.

    A transition is one row [observation, action, reward, next_observation, terminated] of float32 numbers, of which the
    next observation is held as the observation of another row wherever there is such a row (`LinkedRows`). The values
    of the reward's terms can stand behind it, so that the transition can be learnt from for another weighting of the
    same terms.

    Whether an episode was truncated is not stored: a time limit does not change a transition.

    Pictures, where observations have any, are kept apart: in bytes, and each once (`robot_rl.training.pictures`).

    On the disk the transitions lie in segments, files that are written once and never changed. `save_to` writes those
    since the last save and returns the list of segments that a checkpoint refers to; `prune` deletes the others, and
    is called when the new checkpoint is in place.
    """

    def __init__(
        self,
        capacity: int,
        observation_size: int,
        action_size: int,
        seed: int = 0,
        terms: Sequence[str] = (),
        pixels: slice | None = None,
    ) -> None:
        """Reserves the ring; memory is taken as it fills.

        Args:
            capacity: transitions held.
            observation_size: O.
            action_size: A.
            seed: of `sample`.
            terms: names of the reward's terms, where their values are to be kept beside the reward.
            pixels: which entries of an observation are pixels, whole numbers from 0 to 255; None for none.

        Raises:
            ConfigurationError: capacity is not positive.
        """
        if capacity < 1:
            raise ConfigurationError(f"replay: capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.observation_size = observation_size
        self.action_size = action_size
        self.terms = tuple(terms)
        self._pixels = pixels
        self._pictures: Pictures | None = None
        numbers = np.ones(observation_size, dtype=bool)
        if pixels is not None:
            numbers[pixels] = False
            self._pictures = Pictures(capacity, observation_size - int(numbers.sum()))
        self._numbers = np.flatnonzero(numbers)  # entries that are no pixels
        size = len(self._numbers)
        ends = np.cumsum([size, action_size, 1, size, 1, len(self.terms)])
        self._columns = {
            "observation": slice(0, ends[0]),
            "action": slice(ends[0], ends[1]),
            "reward": slice(ends[1], ends[2]),
            "next_observation": slice(ends[2], ends[3]),
            "terminated": slice(ends[3], ends[4]),
            "values": slice(ends[4], ends[5]),
        }
        columns = (self._columns["observation"], self._columns["next_observation"])
        self._rows = LinkedRows(capacity, int(ends[-1]), *columns)  # (capacity, 2 O + A + 2 + T)
        self._total = 0
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._segments: list[dict[str, Any]] = []

    def __len__(self) -> int:
        """Number of transitions held."""
        return min(self._total, self.capacity)

    @property
    def memory(self) -> int:
        """Bytes of memory when it is full."""
        return self._rows.memory + (0 if self._pictures is None else self._pictures.memory)

    @property
    def total(self) -> int:
        """Number of transitions ever added."""
        return self._total

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the files on the disk that hold it, oldest first."""
        return tuple(segment["file"] for segment in self._segments)

    def add(
        self,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        next_observation: np.ndarray,
        terminated: np.ndarray,
        values: np.ndarray | None = None,
        environment: np.ndarray | None = None,
    ) -> None:
        """Adds transitions in order.

        Args:
            observation: before the action, (N, O).
            action: as requested, in [-1, 1], (N, A).
            reward: (N,).
            next_observation: after the action; at the end of an episode its last observation, (N, O).
            terminated: whether the state after the action is terminal; not whether a time limit was hit. (N,).
            values: of the reward's terms before weighting, (N, T); only where the replay keeps them.
            environment: which made each transition, (N,), so that a picture is found again; the n-th by default.

        Raises:
            InvalidInput: a number is NaN or infinite, or N exceeds the capacity; nothing is added.
        """
        count = len(reward)
        if count > self.capacity:
            raise InvalidInput(f"replay: {count} transitions at once do not fit its capacity of {self.capacity}")
        rows = np.empty((count, self._rows.width), dtype=np.float32)
        before = after = np.zeros((count, 0), dtype=np.uint8)
        if self._pixels is not None:
            before, after = (part[:, self._pixels].astype(np.uint8) for part in (observation, next_observation))
            observation, next_observation = (part[:, self._numbers] for part in (observation, next_observation))
        rows[:, self._columns["observation"]] = observation
        rows[:, self._columns["action"]] = action
        rows[:, self._columns["reward"]] = np.reshape(reward, (count, 1))
        rows[:, self._columns["next_observation"]] = next_observation
        rows[:, self._columns["terminated"]] = np.reshape(terminated, (count, 1))
        if self.terms:
            rows[:, self._columns["values"]] = values
        if not np.isfinite(rows).all():
            self._refuse(rows)
        if self._pictures is not None:
            which = np.arange(count) if environment is None else environment
            self._pictures.add(self._total, before, after, which)
        self._place(rows)

    def _place(self, rows: np.ndarray) -> None:
        self._rows.write(self._total % self.capacity, rows)
        self._total += len(rows)

    def _refuse(self, rows: np.ndarray) -> None:
        for name, columns in self._columns.items():
            bad = np.argwhere(~np.isfinite(rows[:, columns]))
            if len(bad):
                row, entry = bad[0]
                where = f"{name}[{entry}]" if columns.stop - columns.start > 1 else name
                raise InvalidInput(
                    f"replay: {where} is {rows[:, columns][row, entry]} at transition {self._total + row}; all numbers "
                    "must be finite. Look for it in the environment's observation and reward, or in the learner"
                )

    def sample(self, batch_size: int, weights: np.ndarray | None = None) -> Batch:
        """Draws transitions uniformly, with replacement, from the replay's own generator.

        Args:
            batch_size: B.
            weights: of the reward's terms, (T,), where the batch is to have another reward than was paid; (T, N) for
                N rewards side by side, (B, N).

        Raises:
            InvalidInput: the replay is empty.
        """
        if self._total == 0:
            raise InvalidInput("replay: it is empty, add transitions before sampling")
        indices = self._generator.integers(0, len(self), size=batch_size)
        rows = self._rows.take(indices)  # (B, 2 O + A + 2 + T)
        parts = {name: rows[:, columns] for name, columns in self._columns.items()}
        values = parts.pop("values")
        parts["reward"] = parts["reward"][:, 0] if weights is None else values @ np.asarray(weights, dtype=np.float32)
        parts["terminated"] = parts["terminated"][:, 0]
        if self._pictures is not None:
            newest = self._total - 1
            pictures = self._pictures.take(newest - (newest - indices) % self.capacity)
            for name, picture in zip(("observation", "next_observation"), pictures, strict=True):
                whole = np.empty((batch_size, self.observation_size), dtype=np.float32)
                whole[:, self._numbers], whole[:, self._pixels] = parts[name], picture
                parts[name] = whole
        return Batch(**parts)

    def _span(self, start: int, stop: int) -> np.ndarray:
        return self._rows.take(np.arange(start, stop) % self.capacity)

    def save_to(self, folder: Path) -> State:
        """Writes the transitions that are not on the disk yet and returns the reference a checkpoint keeps.

        Raises:
            StorageError: the disk is full or not writable; earlier segments are untouched and a later call tries again.
        """
        oldest = self._total - len(self)
        saved = max(self._segments[-1]["stop"] if self._segments else 0, oldest)
        if saved < self._total:
            name = f"{saved:012d}-{self._total:012d}.{'npy' if self._pictures is None else 'npz'}"
            content = io.BytesIO()
            if self._pictures is None:
                np.save(content, self._span(saved, self._total), allow_pickle=False)
            else:
                pictures: dict[str, Any] = self._pictures.span(saved, self._total)
                np.savez(content, rows=self._span(saved, self._total), **pictures)
            data = content.getvalue()
            with storing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / name, data)
            segment = {"file": name, "start": saved, "stop": self._total, "bytes": len(data), "sha256": sha256(data)}
            self._segments.append(segment)
        self._segments = [segment for segment in self._segments if segment["stop"] > oldest]
        return State(
            values={
                "capacity": self.capacity,
                "observation_size": self.observation_size,
                "action_size": self.action_size,
                "terms": list(self.terms),
                "total": self._total,
                "segments": [dict(segment) for segment in self._segments],
                "generator": self._generator.bit_generator.state,
            }
        )

    def load_from(self, folder: Path, state: State) -> None:
        """Reads the transitions that a checkpoint refers to.

        Raises:
            StorageError: a segment is missing or damaged, or the reference belongs to a replay of other sizes.
        """
        saved = state.values
        for name in ("capacity", "observation_size", "action_size", "terms"):
            # Checkpoints from before terms could be kept do not name any.
            theirs, ours = saved.get(name, []), getattr(self, name)
            if theirs != (list(ours) if name == "terms" else ours):
                raise StorageError(
                    f"replay: the checkpoint's {name} is {theirs}, this run's is {ours}; "
                    "resume with the settings of the run"
                )
        oldest = max(0, saved["total"] - self.capacity)
        self._total = oldest
        for segment in saved["segments"]:
            path = folder / segment["file"]
            found = np.load(io.BytesIO(read_checked(path, segment["bytes"], segment["sha256"])), allow_pickle=False)
            rows = found if self._pictures is None else found["rows"]
            if rows.shape != (segment["stop"] - segment["start"], self._rows.width) or rows.dtype != np.float32:
                raise StorageError(f"{path} is damaged: it holds {rows.dtype} {rows.shape}")
            if segment["start"] > self._total:
                raise StorageError(f"replay: transitions {self._total} to {segment['start']} are in no segment")
            skipped = max(0, self._total - segment["start"])
            if self._pictures is not None:
                self._pictures.put(segment["start"], {name: found[name] for name in found.files}, skipped)
            self._place(rows[skipped:])
        if self._total != saved["total"]:
            raise StorageError(f"replay: {saved['total']} transitions were saved, the segments end at {self._total}")
        self._segments = [dict(segment) for segment in saved["segments"]]
        self._generator.bit_generator.state = saved["generator"]

    @staticmethod
    def prune(folder: Path, references: list[State]) -> None:
        """Deletes the segments that none of the references needs."""
        needed = {segment["file"] for reference in references for segment in reference.values["segments"]}
        for path in folder.glob("*"):
            if path.name not in needed:
                path.unlink(missing_ok=True)
