"""What goes wrong on a robot, done to the twin in real time: each ends in a stop that says why, and in safe motors.

Timeouts are long, so that a busy machine alone never causes one.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState, Temperature
from std_msgs.msg import Float64MultiArray, String

from hardware.deployment import Deployment
from hardware.session import RosSession
from robot_rl.commands.policy_files import shipped_policies
from robot_rl.make import make_deployment
from robot_rl.spec_file import BUILTIN

POLICY = str(shipped_policies()["go2-walk"])
STATE_TIMEOUT, COMMAND_TIMEOUT = 2.0, 1.0


def write_go2(place: Path, **ros: Any) -> str:
    values = yaml.safe_load((BUILTIN / "go2.yaml").read_text())
    values["simulation"]["model"] = str((BUILTIN / values["simulation"]["model"]).resolve())
    values["ros"] = {"state_timeout": STATE_TIMEOUT, "command_timeout": COMMAND_TIMEOUT, "connect_timeout": 30.0, **ros}
    # With such long timeouts the robot may fall before its state counts as old; it is the state that is tested here.
    values["safety"] |= {"tilt": "off", "height": "off"}
    path = place / f"go2_{ros.get('state_timeout', STATE_TIMEOUT):g}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory, network: Callable[..., Any]) -> Iterator[Any]:
    place = tmp_path_factory.mktemp("go2")
    with network(place, write_go2(place), "--rate", "50") as found:
        yield found


@pytest.fixture(scope="module")
def node(net: Any) -> Iterator[Deployment]:
    """One policy node, in this process, for all faults."""
    made = make_deployment({"policy": POLICY, "robot": net.robot, "settle_time": 0.1})
    made.transition("configure").result()
    yield made
    made.close()


def stand(operator: Any) -> None:
    operator.trigger("twin/clear")
    assert operator.trigger("twin/reset").success


def make_ready(net: Any, node: Deployment) -> None:
    """Ends the stop of the test before; what still holds the fallen robot ends before it is put on its feet."""
    node.node.reset()
    stand(net.operator)


def wait_until_it_runs(node: Deployment, until: Callable[..., None]) -> None:
    loop = node.node.loop
    assert loop is not None
    until(lambda: loop.ticks > 2 or not loop.running, "the policy does not run")
    assert loop.ticks > 2, loop.report


def safe(operator: Any, by: str = "twin") -> bool:
    status = operator.motors.get(by)
    return status is not None and bool(status.message)


FAULTS = {
    "link_cut": (True, False, r"/\S+ is \d\.\d+ s old, allowed 2 s \(ros.state_timeout\)"),
    "freeze": (True, False, r"/imu is frozen: the same numbers"),
    "repeat": (True, False, r"repeats the stamp"),
    "time_jump": (100.0, 0.0, r"is stamped \d+\.\d+ s ahead of the robot's clock"),
    "nan": (["FR_hip_joint"], [""], r"has a position that is not finite: FR_hip_joint"),
    "missing": (["FR_hip_joint"], [""], r"lacks the joints FR_hip_joint"),
}


@pytest.mark.alone
@pytest.mark.parametrize("fault", FAULTS)
def test_broken_stream_stops_the_robot_and_says_why(
    fault: str, net: Any, node: Deployment, until: Callable[..., None]
) -> None:
    broken, whole, why = FAULTS[fault]
    make_ready(net, node)
    node.transition("activate").result()
    wait_until_it_runs(node, until)
    assert net.operator.set("twin", **{f"fault__{fault}": broken}).successful
    began = time.monotonic()
    until(lambda: node.node.label == "inactive", "nothing happens")
    took = time.monotonic() - began
    until(lambda: net.operator.motors["twin"].message == "emergency stop", "the motors are not told to stop")
    assert net.operator.set("twin", **{f"fault__{fault}": whole}).successful
    assert node.report is not None
    assert re.search(why, node.report.stopped)
    assert took < 2 * STATE_TIMEOUT + 3.0  # a busy machine's share


def test_activation_waits_for_the_first_message_after_a_silence(
    net: Any, node: Deployment, until: Callable[..., None]
) -> None:
    make_ready(net, node)
    assert net.operator.set("twin", fault__link_cut=True).successful
    time.sleep(1.2 * STATE_TIMEOUT)
    back = threading.Timer(0.5, net.operator.set, ["twin"], {"fault__link_cut": False})
    back.start()
    node.transition("activate").result()
    back.join()
    wait_until_it_runs(node, until)
    node.node.stop("enough")
    until(lambda: node.node.label == "inactive", "it goes on")


def test_hot_motor_stops_the_robot(net: Any, node: Deployment, until: Callable[..., None]) -> None:
    make_ready(net, node)
    node.transition("activate").result()
    message = Temperature(temperature=95.0)
    message.header.frame_id = "RL_calf_joint"
    net.operator.publish("temperature", message)
    until(lambda: node.node.label == "inactive", "nothing happens")
    assert node.report is not None
    assert node.report.stopped == "motor of RL_calf_joint is at 95 degrees Celsius, allowed 80"
    node.transition("cleanup").result()


def deploy(net: Any, *flags: str) -> Any:
    return net.start(
        "-m", "robot_rl.cli", "deploy", POLICY, "--robot", net.robot, "--yes", "--settle-time", "0.1", *flags
    )


def patient(place: Path) -> str:
    """The same robot for a policy in another process, which a busy machine may keep waiting."""
    return write_go2(place, state_timeout=5.0)


def test_killed_policy_process_leaves_the_motors_damped(net: Any, tmp_path: Path, until: Callable[..., None]) -> None:
    stand(net.operator)
    net.robot = patient(tmp_path)
    program = deploy(net, "--reset")
    program.wait_for("policy [1-9]")
    program.end(signal.SIGKILL)
    until(lambda: "no command for" in net.operator.motors["twin"].message, "the motors go on")
    assert net.operator.motors["twin"].hardware_id == "damp"


def test_killed_robot_ends_the_deployment_with_a_clear_line(tmp_path: Path, network: Callable[..., Any]) -> None:
    with network(tmp_path, write_go2(tmp_path), "--rate", "50") as net:
        program = deploy(net)
        program.wait_for("policy [1-9]")
        net.twin.end(signal.SIGKILL)
        assert program.wait() == 3
        assert re.search(r"robot-rl: stopped: .* is \d\.\d+ s old, allowed 2 s", program.output), program.output


def test_dead_policy_behind_a_guard_leaves_the_robot_holding(
    tmp_path: Path, network: Callable[..., Any], until: Callable[..., None]
) -> None:
    # A motor controller without a watchdog: the twin waits for commands for a minute.
    path = write_go2(tmp_path, command_timeout=60.0)
    with network(tmp_path, path, "--rate", "50") as net:
        net.robot = patient(tmp_path)
        guard = net.start("-m", "robot_rl.cli", "guard", net.robot)
        guard.wait_for("guard of go2")
        program = deploy(net, "--through-guard")
        program.wait_for("policy [1-9]")
        program.end(signal.SIGKILL)
        until(lambda: safe(net.operator, "guard"), "the guard does nothing")
        commands: list[np.ndarray] = []
        read = net.operator.node.create_subscription(
            Float64MultiArray, "commands", lambda m: commands.append(np.array(m.data)), 10
        )
        until(lambda: len(commands) > 5, "nothing is sent to the motors")
        assert np.ptp(commands, axis=0).max() == 0.0  # the same pose again and again
        net.operator.node.destroy_subscription(read)
        assert net.operator.trigger("guard/stop").success
        until(lambda: net.operator.motors["guard"].message == "emergency stop: service", "the stop is not told")
        refused = deploy(net, "--through-guard")
        assert refused.wait() == 3
        assert "is stopped: emergency stop: service" in refused.output
        assert guard.end(signal.SIGINT) == 0, guard.output


@pytest.mark.parametrize(
    ("kind", "reliability", "why"),
    [
        (String, ReliabilityPolicy.RELIABLE, "/joint_states has the type std_msgs/msg/String, expected sensor_msgs"),
        (JointState, ReliabilityPolicy.BEST_EFFORT, "it sends best_effort, ros.reliability here is reliable"),
    ],
)
def test_wrong_kind_of_topic_is_named(
    kind: type, reliability: Any, why: str, domain: int, start: Callable[..., Any], tmp_path: Path
) -> None:
    path = write_go2(tmp_path, connect_timeout=4.0, reliability="reliable")
    session = RosSession("strange_robot")
    publisher = session.node.create_publisher(kind, "joint_states", QoSProfile(depth=1, reliability=reliability))
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.05):
            publisher.publish(kind())

    sender = threading.Thread(target=send)
    sender.start()
    try:
        program = start("-m", "robot_rl.cli", "deploy", POLICY, "--robot", path, "--yes")
        assert program.wait() == 3
        assert why in program.output
    finally:
        ended.set()
        sender.join()
        session.close()
