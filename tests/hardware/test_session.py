"""What a process of ours opens to the world when it joins ROS."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")

JOIN = """
import sys
from hardware.session import RosSession
session = RosSession("outsider")
session.start()
print("joined", flush=True)
sys.stdin.read()
session.close()
"""


def joined(**environment: str) -> subprocess.Popen[str]:
    """A process that has joined ROS, with nothing said about the network but `environment`."""
    silent = {name: value for name, value in os.environ.items() if not name.startswith(("ROS_", "RMW_", "FAST"))}
    process = subprocess.Popen(
        [sys.executable, "-c", JOIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**silent, "ROS_DOMAIN_ID": "101", **environment},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def leave(process: subprocess.Popen[str]) -> None:
    """Ends it."""
    process.communicate(timeout=20)
    assert process.returncode == 0


def bound(process: int) -> set[str]:
    """Addresses of the UDP sockets that a process holds, as the kernel tells them."""
    held = {os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()}
    found = set()
    for line in Path(f"/proc/{process}/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if f"socket:[{columns[9]}]" in held:
            found.add(socket.inet_ntoa(struct.pack("<I", int(columns[1].split(":")[0], 16))))
    return found


def shared_memory(process: int) -> list[str]:
    """Fast DDS's shared memory in a process's address space."""
    return [line for line in Path(f"/proc/{process}/maps").read_text().splitlines() if "/dev/shm/fast" in line]


@pytest.mark.parametrize("asked", [{}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, {"ROS_LOCALHOST_ONLY": "1"}])
def test_nothing_is_open_beyond_this_machine_and_nothing_outlives_a_kill(asked: dict[str, str]) -> None:
    process = joined(**asked)
    try:
        # 239.255.0.1 is DDS's group for discovery, joined on the loopback interface.
        assert {"127.0.0.1"} <= bound(process.pid) <= {"127.0.0.1", "239.255.0.1"}
        assert not shared_memory(process.pid)
    finally:
        leave(process)


def test_who_asks_for_the_network_gets_it() -> None:
    process = joined(ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    try:
        assert "0.0.0.0" in bound(process.pid)
    finally:
        leave(process)


def test_settings_of_ones_own_go_first(tmp_path: Path) -> None:
    own = tmp_path / "own.xml"
    own.write_text(
        '<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"><profiles>'
        '<participant profile_name="own" is_default_profile="true"><rtps><name>own</name></rtps></participant>'
        "</profiles></dds>"
    )
    process = joined(FASTRTPS_DEFAULT_PROFILES_FILE=str(own))
    try:
        assert shared_memory(process.pid)
    finally:
        leave(process)
