"""What makes a control loop more punctual on Linux, where the system permits it."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_TURN = 0.1e-3
"""s after which a thread of Python that is at work lets a waiting one, such as the control loop, have its turn."""
_MCL_CURRENT, _MCL_FUTURE = 1, 2


@dataclass(frozen=True)
class RealTime:
    """All off by default: they take from the rest of the machine."""

    priority: int = 0
    """Of the control thread under SCHED_FIFO, 1 to 99; 0 leaves it to the usual scheduler."""
    lock_memory: bool = False
    """Whether to keep the whole process in memory, so that no tick waits for a page."""
    pause_collector: bool = False
    """Whether Python's garbage collector rests while the loop runs."""


@contextmanager
def real_time(wanted: RealTime) -> Iterator[list[str]]:
    """Applies the options to the calling thread and its process; gives a warning for each that is not permitted."""
    warnings = []
    usual = os.sched_getscheduler(0), os.sched_getparam(0)
    if wanted.priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(wanted.priority))
        except (PermissionError, OSError) as error:
            warnings.append(
                f"no real-time priority {wanted.priority}: {error.strerror}; permit it with rtprio in "
                "/etc/security/limits.conf, or run with CAP_SYS_NICE"
            )
    if wanted.lock_memory:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
            reason = os.strerror(ctypes.get_errno())
            warnings.append(f"memory is not locked: {reason}; permit it with memlock in /etc/security/limits.conf")
    turn = sys.getswitchinterval()
    sys.setswitchinterval(min(turn, _TURN))
    collecting = gc.isenabled()
    if wanted.pause_collector:
        gc.collect()
        gc.freeze()
        gc.disable()
    try:
        yield warnings
    finally:
        sys.setswitchinterval(turn)
        if wanted.pause_collector:
            gc.unfreeze()
            if collecting:
                gc.enable()
        if wanted.lock_memory:
            ctypes.CDLL(None).munlockall()
        if wanted.priority and os.sched_getscheduler(0) != usual[0]:
            os.sched_setscheduler(0, *usual)
