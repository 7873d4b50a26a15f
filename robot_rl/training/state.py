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

    @classmethod
    def of_tree(cls, tree: Any) -> State:
        """Takes nested dicts and lists of arrays, numbers, strings and None; `tree()` gives them back.

        Raises:
            StorageError: something else is in the tree, or a key is not a string.
        """
        state = cls()
        state.values["tree"] = _without_arrays(tree, state.arrays)
        return state

    def tree(self) -> Any:
        """What `of_tree` was given; tuples come back as lists, numpy scalars as Python's."""
        return _with_arrays(self.values["tree"], self.arrays)


def _without_arrays(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, np.ndarray):
        name = str(len(arrays))
        arrays[name] = node.copy()
        return {"array": name}
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {"dict": {key: _without_arrays(value, arrays) for key, value in node.items()}}
    if isinstance(node, list | tuple):
        return {"list": [_without_arrays(value, arrays) for value in node]}
    if isinstance(node, np.generic):
        node = node.item()
    if isinstance(node, float):
        return {"float": node.hex()}  # JSON has no NaN and no infinity
    if node is None or isinstance(node, bool | int | str):
        return {"value": node}
    raise StorageError(f"a snapshot holds {type(node).__name__}; allowed: dict, list, array, number, string, None")


def _with_arrays(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    ((kind, value),) = node.items()
    if kind == "array":
        return arrays[value]
    if kind == "dict":
        return {key: _with_arrays(child, arrays) for key, child in value.items()}
    if kind == "list":
        return [_with_arrays(child, arrays) for child in value]
    return float.fromhex(value) if kind == "float" else value


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
