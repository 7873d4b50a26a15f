"""What a training object needs to continue later: tensors, arrays and plain values, all under flat names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from robot_rl.errors import StorageError


@dataclass
class State:
    """The state of one object, or of several joined under prefixes.

    Flat names ("learner/actor/head.weight") keep every file format simple: nothing here ever needs pickle.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    """Anything JSON can hold: numbers, strings, lists and dicts of them."""

    @classmethod
    def join(cls, parts: Mapping[str, State]) -> State:
        """Joins several states into one, each under its own prefix `name/`."""
        joined = cls()
        for name, part in parts.items():
            joined.tensors.update({f"{name}/{key}": value for key, value in part.tensors.items()})
            joined.arrays.update({f"{name}/{key}": value for key, value in part.arrays.items()})
            joined.values.update({f"{name}/{key}": value for key, value in part.values.items()})
        return joined

    def part(self, name: str) -> State:
        """The state that was joined under `name`."""
        prefix = f"{name}/"

        def under(mapping: dict[str, Any]) -> dict[str, Any]:
            return {key[len(prefix) :]: value for key, value in mapping.items() if key.startswith(prefix)}

        return State(under(self.tensors), under(self.arrays), under(self.values))


def copy_into(targets: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], what: str) -> None:
    """Copies saved tensors into existing ones in place, all or none.

    Args:
        targets: the tensors to fill, by name.
        saved: the tensors to read, by the same names.
        what: names the owner in the error.

    Raises:
        StorageError: a name is missing or a shape differs.
    """
    for name, target in targets.items():
        if name not in saved:
            raise StorageError(f"{what}: the saved state has no '{name}'; it was made by another learner or settings")
        if saved[name].shape != target.shape:
            raise StorageError(
                f"{what}: '{name}' was saved with shape {tuple(saved[name].shape)}, needed {tuple(target.shape)}; "
                "resume with the settings of the run"
            )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(saved[name])
