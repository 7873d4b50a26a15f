"""A learner's update as one compiled graph: forward passes, gradients, Adam and target average in one C++ function.

What is compiled is the method that also runs as it stands, traced by torch.compile once, gradients included. It needs a
C++ compiler, and a torch that can trace `torch.autograd.grad`.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Update = Callable[..., dict[str, torch.Tensor]]


class CannotCompile(Exception):
    """Why there is no compiled update here; the text is for the user."""


def compile_update(update: Update, example: Sequence[Any]) -> Update:
    """Compiles a function and calls it once.

    Args:
        update: of tensors; it may change those that it finds in its owner in place.
        example: arguments of the call; later ones must have the same shapes and strides.

    Returns:
        What computes the same, up to rounding, and the same bits in every process on one machine.

    Raises:
        CannotCompile: this machine or this torch cannot.
    """
    reason = obstacle()
    if reason is not None:
        raise CannotCompile(reason)
    # What is compiled outlives the process, and where torch puts it by default a reboot deletes it.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    import torch._dynamo.config as tracing

    # cpp_wrapper: the kernels are called from C++ too. With it everything is one file, and more compilers than one
    # would only stay behind as idle processes.
    # Convolutions stay in the layout that they are written in: in another, torch 2.13 compiles them to wrong strides.
    options: dict[str, Any] = {"cpp_wrapper": True, "compile_threads": 1, "layout_optimization": False}
    compiled = torch.compile(update, fullgraph=True, dynamic=False, options=options)
    try:
        with tracing.patch(trace_autograd_ops=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of parts of its own that it uses here
            compiled(*example)
    except Exception as error:  # whatever the compiler's many parts raise: the update as it stands is right too
        text = " ".join(str(error).split())
        raise CannotCompile(f"{type(error).__name__}: {text}"[:200]) from error
    return compiled


def obstacle() -> str | None:
    """Why an update cannot be compiled here; None where it can."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in names):
        return f"there is no C++ compiler ({' or '.join(names)}); on Debian and Ubuntu: apt install g++"
    from torch._dynamo import config

    if not hasattr(config, "trace_autograd_ops"):
        return f"torch {torch.__version__} cannot trace gradients; a newer torch can"
    return None


def cache_folder() -> Path:
    """Where compiled updates are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robot_rl" / "compiled"


def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 by instructions of its own, and not far slower."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
