"""Processes of our own: started so that Ctrl-C is for their parent alone, asked over a pipe, and gone with it."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing

from robot_rl.errors import RobotRLError, WorkerEnded
from robot_rl.training.memory import keep_freed_memory

_PATIENCE = 10.0
"""s for a process to end by itself."""


def clean_context() -> Any:
    """The context of multiprocessing that starts processes from one that has loaded torch and done nothing else.

    So they inherit no thread, no lock and no open file of this program, and do not take seconds each to load torch.
    """
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["robot_rl.training.worker", "robot_rl.training.rollout_worker"])
    return context


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """What is started within inherits, from its first instruction on, that Ctrl-C and SIGTERM do not reach it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class RemoteObject:
    """An object that lives in a process of its own and answers there, one question after another.

    Attributes:
        name: for messages.
        connection: to wait for an answer on.
    """

    def __init__(self, name: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Starts the process.

        Args:
            name: of the object.
            make: makes it there from `arguments`; something that another process can be given, as they must be. What it
                makes has a `close`.
            arguments: of `make`.
        """
        self.name = name
        context = clean_context()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), name=name, daemon=True)
        with signals_blocked():
            self._process.start()
        theirs.close()  # so that its end is the other process's end alone

    def ask(self, method: str, *arguments: Any) -> None:
        """Asks; `hear` has the answer."""
        with contextlib.suppress(OSError):  # it has died; what it said, if anything, is heard
            self.connection.send((method, arguments))

    def hear(self) -> Any:
        """Waits for the answer to the oldest question that has none.

        Raises:
            WorkerEnded: it has died, or gone wrong: then with the exit code of what went wrong.
        """
        try:
            kind, said = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_PATIENCE)
            raise WorkerEnded(f"{self.name} has died, exit code {self._process.exitcode}") from None
        if kind == "error":
            text, exit_code = said
            error = WorkerEnded(f"{self.name}: {text}")
            error.exit_code = exit_code
            raise error
        return said

    def disconnect(self) -> None:
        """Lets it end after what it is doing."""
        self.connection.close()

    def close(self) -> None:
        """Ends the process, which is not waited for long."""
        self.disconnect()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The other process from its beginning to its end, which comes when the connection closes."""
    end_with_parent()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        with contextlib.closing(make(*arguments)) as served:
            while True:
                method, given = connection.recv()
                connection.send(("answer", getattr(served, method)(*given)))
    except RobotRLError as error:
        with contextlib.suppress(BrokenPipeError):
            connection.send(("error", (str(error), error.exit_code)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is done, or gone
    sys.exit(0)


def end_with_parent() -> None:
    """Asks Linux to kill this process when its parent dies: one that waits for a lock does not see a closed pipe.

    The parent is the server that forks the processes, which ends with the program.
    """
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig, sigkill = 1, 9
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigkill)
