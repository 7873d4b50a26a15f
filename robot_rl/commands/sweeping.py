"""Many runs: several at a time in processes of this machine, or as tasks on Ray."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from robot_rl.commands.output import relative, say
from robot_rl.training.loop import stop_signals
from robot_rl.training.processes import clean_context, end_with_parent, signals_blocked
from robot_rl.training.ray_cluster import connected

OUTPUT = "output.log"
"""What a run of a sweep would have printed, in its folder."""
INTERRUPTED = 130
_LOOK = 0.5
"""s between two looks for Ctrl-C."""


def train_quietly(folder: Path) -> int:
    """Trains a run to its end, or goes on with it; returns the exit code."""
    from robot_rl.cli import main

    with (
        open(folder / OUTPUT, "a", buffering=1) as output,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        return main(["train", "--resume", str(folder)])


def _process(folder: Path) -> None:
    """The process of one run from its beginning to its end; SIGTERM is a wish to save and end."""
    end_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    sys.exit(train_quietly(folder))


def train_here(folders: Sequence[Path], at_once: int, ended: Callable[[Path, int], None]) -> None:
    """Trains runs in processes of their own.

    Args:
        folders: of the runs.
        at_once: how many at a time.
        ended: told each run that ended, with its exit code; after Ctrl-C, 130 for those that have saved and ended, and
            nothing of those that were not begun.
    """
    waiting, context = list(folders), clean_context()
    active: dict[Any, tuple[Path, Any]] = {}  # by what tells of the end
    with stop_signals() as stop:
        while active or (waiting and not stop.is_set()):
            while waiting and len(active) < at_once and not stop.is_set():
                folder = waiting.pop(0)
                say(f"{relative(folder)}: begins; {relative(folder / OUTPUT)} has what it says")
                process = context.Process(target=_process, args=(folder,), name=folder.name)
                with signals_blocked():
                    process.start()
                active[process.sentinel] = (folder, process)
            found = wait(list(active), _LOOK)
            if stop.is_set():
                for _, process in active.values():
                    process.terminate()
                found = list(active)
            for sentinel in found:
                folder, process = active.pop(sentinel)
                process.join()
                ended(folder, _exit_code(process.exitcode))


def _exit_code(code: int) -> int:
    """That of a shell, for a process that a signal ended; by SIGTERM it was told to stop before it had begun."""
    return code if code >= 0 else INTERRUPTED if code == -signal.SIGTERM else 128 - code


def train_there(folders: Sequence[Path], address: str, cpus: int, ended: Callable[[Path, int], None]) -> None:
    """Trains runs on Ray, as many at a time as there is room for; a run whose machine dies goes on on another one.

    Args:
        folders: of the runs, where every machine of the cluster finds them.
        address: of the cluster.
        cpus: processors that Ray sets aside for each.
        ended: as for `train_here`.
    """
    with connected(address, cpus) as ray, stop_signals() as stop:
        task = ray.remote(num_cpus=cpus, max_retries=3)(train_quietly)
        pending = {task.remote(folder.resolve()): folder for folder in folders}
        stopped = False
        while pending:
            for ready in ray.wait(list(pending), num_returns=1, timeout=_LOOK)[0]:
                folder = pending.pop(ready)
                try:
                    ended(folder, ray.get(ready))
                except ray.exceptions.TaskCancelledError:
                    pass  # it was not begun
                except ray.exceptions.RayError as error:
                    say(f"{relative(folder)}: {str(error).strip().splitlines()[0]}")
                    ended(folder, 1)
            if stop.is_set() and not stopped:
                stopped = True
                for one in pending:
                    ray.cancel(one, force=False)  # as Ctrl-C would: it saves and ends
