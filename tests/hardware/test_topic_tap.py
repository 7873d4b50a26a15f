"""What is recorded of a robot whose topics appear one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.recorder import Recorder
from hardware.sensor_topics import sources
from hardware.session import RosSession
from hardware.topic_tap import TopicTap
from robot_rl.spec_file import load_robot

GO2 = load_robot("go2")


@pytest.fixture
def robot(domain: int) -> Iterator[RosSession]:
    session = RosSession("robot")
    session.start()
    yield session
    session.close()


@pytest.fixture
def tap(domain: int, tmp_path: Path) -> Iterator[TopicTap]:
    recorder = Recorder(tmp_path / "bag", GO2)
    session = RosSession("recorder")
    found = TopicTap(session.node, recorder, GO2)
    session.start()
    yield found
    session.close()
    recorder.close()


def test_odometry_has_a_second_to_appear_after_the_last_sensor(robot: RosSession, tap: TopicTap) -> None:
    # All topics of a robot are discovered late on a busy machine, and not at once.
    known = sources(GO2)
    publishers: dict[str, Any] = {}
    heard: list[bool] = []
    waiting = Thread(target=lambda: heard.append(tap.wait_ready(60.0)), daemon=True)
    waiting.start()

    def send(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, publisher in publishers.items():
                publisher.publish(known[name].kind())
            time.sleep(0.02)

    send(1.5)
    for name, source in known.items():
        if name != "odometry":
            publishers[name] = robot.node.create_publisher(source.kind, source.topic, 10)
    others = {robot.node.resolve_topic_name(known[name].topic) for name in publishers}
    while not others <= tap.heard:
        send(0.05)
    publishers["odometry"] = robot.node.create_publisher(known["odometry"].kind, known["odometry"].topic, 10)
    while waiting.is_alive():
        send(0.05)
    assert heard == [True]
    assert robot.node.resolve_topic_name(GO2.ros.odometry) in tap.heard
