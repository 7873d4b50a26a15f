"""Ray, as this project starts it and reaches it; only these functions and what they return know that there is Ray."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from types import ModuleType

from robot_rl.errors import ConfigurationError

LOCALHOST = "127.0.0.1"


def check_installed() -> None:
    """Looks for the package, without loading it.

    Raises:
        ConfigurationError: it is not installed.
    """
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:  # a mere folder of that name has no origin
        raise ConfigurationError(
            "the Python package 'ray' is not installed; install robot_rl with the extra 'ray': "
            "pip install -c constraints.txt -e '.[ray]'"
        )


@contextlib.contextmanager
def connected(address: str | None, cpus: int) -> Iterator[ModuleType]:
    """Ray, started or reached, and left again as it was found.

    Args:
        address: of a cluster that runs, as `ray.init` takes it: `auto`, or HOST:PORT of its head. None starts one on
            this machine for this program alone, which listens on 127.0.0.1 only and asks for a token.
        cpus: logical ones, where it is started here.

    Yields:
        The package.

    Raises:
        ConfigurationError: Ray is not installed, or there is no cluster at `address`.
    """
    check_installed()
    # Ray reads these when it is loaded.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers about every cluster
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if address is None or address.partition(":")[0] in (LOCALHOST, "localhost"):
        # Otherwise it takes 127.0.0.1 for a mistake, looks up the machine's own address and listens on all of them.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    if ray.is_initialized():
        yield ray
        return
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address is None:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, _node_ip_address=LOCALHOST, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = "a cluster on this machine" if address is None else f"the cluster at {address!r}"
        raise ConfigurationError(f"Ray could not reach {where}: {str(error).strip().splitlines()[0]}") from error
    try:
        if address is None and (found := ray.util.get_node_ip_address()) != LOCALHOST:
            raise ConfigurationError(
                f"Ray listens on {found} and not on {LOCALHOST} alone; it was loaded too early: set "
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before it is, or give the address of a cluster"
            )
        yield ray
    finally:
        ray.shutdown()
