"""Which unknowns a motion tells apart: reasons for those that it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.least_squares import inverse_of

Array = NDArray[np.floating]

LIMIT = 0.25
"""Standard deviation, in scales, beyond which an unknown counts as not identified."""
_ALIKE = 0.9
"""Correlation from which two unknowns act alike."""
_NAMED = 3
"""Partners that a reason names at most."""


def unidentifiable(information: Array, names: Sequence[str], ranks: Sequence[int]) -> dict[int, str]:
    """Gives up unknowns one by one until all that are left are known well enough.

    An unknown whose own information is too little, even were all others known, is not shown by the motion. One that is
    only unknown because of others acts like these; of such a group the one of the highest rank is given up.

    Args:
        information: J^T W J, (P, P), in units of the unknowns' scales.
        names: of the unknowns.
        ranks: who is given up first.

    Returns:
        The reason by index, of those given up.
    """
    reasons: dict[int, str] = {}
    alone = 1.0 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    for index in np.flatnonzero(alone > LIMIT):
        reasons[int(index)] = "too little motion: it hardly shows in what was recorded"
    while True:
        left = np.array([index for index in range(len(names)) if index not in reasons], dtype=int)
        if not len(left):
            return reasons
        inverse = inverse_of(information[np.ix_(left, left)])
        deviation = np.sqrt(np.diag(inverse))
        worst = int(deviation.argmax())
        if deviation[worst] <= LIMIT:
            return reasons
        alike = inverse[worst] / (deviation[worst] * deviation)
        group = np.flatnonzero(np.abs(alike) > _ALIKE)
        if len(group) < 2:  # several together make up for it, none of them alone
            group = np.argsort(-np.abs(alike))[: _NAMED + 1]
        given_up = max(group.tolist(), key=lambda k: (ranks[int(left[k])], float(deviation[k])))
        cross = np.abs(inverse[given_up] / deviation)
        others = sorted((k for k in group.tolist() if k != given_up), key=lambda k: -float(cross[k]))
        partners = ", ".join(names[int(left[k])] for k in others[:_NAMED])
        reasons[int(left[given_up])] = f"collinear: in this motion it acts like {partners}"

