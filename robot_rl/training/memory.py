"""Keeps the memory of short-lived tensors with the process."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_HELD = 1 << 30
"""Bytes; malloc's options are ints, and no tensor of an update is larger."""
_GROWTH = 64 << 20
"""Bytes by which the heap grows."""


def keep_freed_memory() -> bool:
    """Tells malloc not to hand freed memory back to the kernel; for programs that do the same again and again.

    The tensors between the layers of a network are large enough that glibc would return them to the kernel at the end
    of every update and fetch them, zeroed page by page, at the next: about a thousand page faults in every update of
    soft actor-critic.

    Returns:
        Whether the C library took it; False where there is none of GNU.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((_M_MMAP_THRESHOLD, _HELD), (_M_TRIM_THRESHOLD, _HELD), (_M_TOP_PAD, _GROWTH))
    return all([mallopt(option, value) == 1 for option, value in options])
