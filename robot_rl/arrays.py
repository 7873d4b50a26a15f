"""Small functions over arrays of any leading batch shape, as cheap for one robot as for many.

NumPy takes about half a microsecond for any operation, however short the array. One control tick of one robot is dozens
of operations on a few numbers each, so for a single robot Python's own floats and the cheapest call of each kind count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def components(array: Array) -> list[Any]:
    """The components along the last axis: Python numbers for shape (k,), arrays of shape (...) for (..., k)."""
    return array.tolist() if array.ndim == 1 else [array[..., i] for i in range(array.shape[-1])]


def from_components(parts: Sequence[Any]) -> Array:
    """The inverse of `components`."""
    return np.stack(parts, axis=-1) if isinstance(parts[0], np.ndarray) else np.array(parts)


def squared_norm(array: Array) -> Any:
    """Sum of squares over the last axis, (...,)."""
    return array.dot(array) if array.ndim == 1 else np.einsum("...i,...i->...", array, array)


def sqrt(x: Any) -> Any:
    """Square root of a component, a number or an array."""
    return math.sqrt(x) if isinstance(x, float) else np.sqrt(x)


def at_least(x: Any, low: float) -> Any:
    """The greater of a component, a number or an array, and `low`."""
    return max(x, low) if isinstance(x, float) else np.maximum(x, low)


def exp(x: Any) -> Any:
    """Exponential of a component, a number or an array."""
    return math.exp(x) if isinstance(x, float) else np.exp(x)


def cos_sin(angle: Any) -> tuple[Any, Any]:
    """Cosine and sine of a component in rad, a number or an array."""
    if isinstance(angle, float):
        return math.cos(angle), math.sin(angle)
    return np.cos(angle), np.sin(angle)


def arctan2(y: Any, x: Any) -> Any:
    """Angle of (x, y) in rad, of two components: numbers or arrays."""
    return math.atan2(y, x) if isinstance(y, float) else np.arctan2(y, x)


def every(rows: Any) -> bool:
    """Whether all rows are true; a bool, or (...,) bool."""
    return bool(rows.all() if isinstance(rows, np.ndarray) else rows)


def all_finite(array: Array) -> bool:
    """Whether all numbers are finite, and their squares too."""
    # A sum is finite only if every summand is; for one robot's few numbers this is the fastest way to ask.
    return math.isfinite(array.dot(array)) if array.ndim == 1 else bool(np.isfinite(array).all())


def within(array: Array, low: float, high: float) -> bool:
    """Whether all numbers lie between `low` and `high`; NaN does not."""
    if array.ndim == 1:
        numbers = array.tolist()
        # Neither min nor max notices a NaN; the sum does.
        return low <= min(numbers) and max(numbers) <= high and math.isfinite(sum(numbers))
    return bool(((array >= low) & (array <= high)).all())


def frozen(array: Array) -> Array:
    """The same array, no longer writable."""
    array.setflags(write=False)
    return array


def kept(array: Array) -> Array:
    """A read-only array of the same float64 numbers: the array itself where it cannot change any more, else a copy."""
    if array.flags.owndata and not array.flags.writeable and array.dtype == np.float64:
        return array
    return frozen(np.array(array, dtype=np.float64))
