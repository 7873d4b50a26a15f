"""How the threads of numerical libraries wait for each other."""

from __future__ import annotations

import os

SPINS = "2000"
"""Turns of a thread that waits before it sleeps: some tens of microseconds, as long as there is between two products
of an update."""


def wait_briefly() -> None:
    """Lets threads that wait for each other sleep soon; to be called before torch is imported.

    GNU's OpenMP, which torch computes with, lets them spin for milliseconds by default. On a core of its own that saves
    a little. But where another program wants the core too, a thread that spins keeps out the one that it waits for: on
    two busy cores an update was seen to take 20 times as long on two threads as with this. What the user has set stays.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
