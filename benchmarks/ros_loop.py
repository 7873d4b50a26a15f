"""How punctual the control loop is over ROS 2, and whether a policy walks there as it does in one process.

    python benchmarks/ros_loop.py [--minutes 5] [--fast-seconds 20] [--json]

Twin and policy node are two processes, which speak over DDS on this machine alone. Beside them stands a bare echo of
rclpy at the same rate: what the middleware itself costs here. The machine should be otherwise idle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# A network of its own: nothing that may listen elsewhere on this machine shall be moved.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
if "--echo" not in sys.argv:
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

from hardware import messages  # noqa: E402
from hardware.real_time import RealTime, real_time  # noqa: E402
from hardware.ros_robot import RosRobot  # noqa: E402
from hardware.session import RosSession  # noqa: E402
from policies.runtime import OnnxPolicy  # noqa: E402
from robot_rl.commands.evaluate import policy_task  # noqa: E402
from robot_rl.make import make_env  # noqa: E402
from robot_rl.robot import JointCommand, Start  # noqa: E402
from robot_rl.spec_file import BUILTIN, load_robot  # noqa: E402
from robot_rl.timing import Rate, TimingLog  # noqa: E402

POLICY = ROOT / "policies" / "trained" / "go2-walk.onnx"


@contextmanager
def program(*arguments: str, ready: str) -> Iterator[subprocess.Popen[str]]:
    """Runs `python arguments...` from the line that contains `ready` until the block ends."""
    command = [sys.executable, *arguments]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert started.stderr is not None
    for line in started.stderr:
        if ready in line:
            break
    threading.Thread(target=started.stderr.read, daemon=True).start()
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


def in_process(seconds: float) -> dict[str, float]:
    """The policy in the environment it was trained in, without ROS and as fast as it goes."""
    spec = load_robot("go2")
    policy = OnnxPolicy.load(POLICY, robot=spec)
    env = make_env(spec, policy_task(policy.contract, spec), time_limit=seconds)
    observation, _ = env.reset(seed=0, options={"goal": [0.6, 0.0, 0.0, 2.0]})
    first = env.state.base_position
    total, velocity, ended = 0.0, 0.0, False
    ticks = 0
    while not ended:
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation).action)
        total, velocity, ticks = total + reward, velocity + float(env.state.base_linear_velocity[0]), ticks + 1
        ended = terminated or truncated
    distance = float(np.linalg.norm((env.state.base_position - first)[:2]))
    env.close()
    dt = 1.0 / env.robot.spec.control_rate
    return {"seconds": ticks * dt, "return": total, "forward_velocity": velocity / ticks, "distance": distance}


def deployed(seconds: float) -> dict[str, Any]:
    """The same policy in its own process, the twin in another."""
    with program("-m", "robot_rl.cli", "twin", "go2", ready="twin of"):
        command = [sys.executable, "-m", "robot_rl.cli", "deploy", str(POLICY), "--robot", "go2", "--yes"]
        flags = ["--pause-collector", "--json", "--seconds", f"{seconds:g}"]
        done = subprocess.run([*command, *flags], stdout=subprocess.PIPE, text=True, check=False)
    return {"exit_code": done.returncode, **(json.loads(done.stdout) if done.stdout else {})}


def joint_loop(rate: float, seconds: float) -> dict[str, Any]:
    """A loop that moves the joints of a hand at a high rate; the twin in another process."""
    values = yaml.safe_load((BUILTIN / "dclaw.yaml").read_text())
    values["simulation"]["model"] = str((BUILTIN / values["simulation"]["model"]).resolve())
    values["simulation"]["physics_rate"] = 2 * rate
    values["control_rate"] = rate
    values["ros"] = {"state_timeout": 0.5, "command_timeout": 0.5}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dclaw.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        with program("-m", "robot_rl.cli", "twin", str(path), "--rate", f"{rate:g}", ready="twin of"):
            spec = load_robot(path)
            robot = RosRobot(spec)
            # What the policy node does with priority:=20 pause_collector:=true.
            with real_time(RealTime(priority=20, pause_collector=True)) as warnings:
                for warning in warnings:
                    print(warning, file=sys.stderr)
                robot.reset(Start(spec.home), np.random.default_rng(0))
                for tick in range(round(seconds * rate)):
                    offset = 0.05 * np.sin(2.0 * np.pi * tick / rate)
                    robot.step(JointCommand(spec.home + offset))
            timing = robot.timing
            robot.close()
    jitter = np.abs(timing.column("period") - 1.0 / rate)
    return {
        "rate_hz": timing.ticks / float(timing.column("period").sum()),
        "jitter_p99": float(np.percentile(jitter, 99)),
        "overruns": timing.overruns,
        "timing_s": timing.summary(),
    }


def echo(rate: float, seconds: float) -> dict[str, Any]:
    """A bare publisher and subscriber: round trip of JointState there and Float64MultiArray back, and the period."""
    with program(__file__, "--echo", ready="echo"):
        session = RosSession("caller")
        came = threading.Event()
        expected = [0.0]

        def take(message: Any) -> None:
            if message.layout.dim[0].label == f"{expected[0]:.9f}":
                came.set()

        session.node.create_subscription(messages.Float64MultiArray, "echo_out", take, 1)
        publisher = session.node.create_publisher(messages.JointState, "echo_in", 1)
        session.start()
        names, zeros = [f"joint{k}" for k in range(12)], np.zeros(12)
        while publisher.get_subscription_count() == 0:
            time.sleep(0.05)
        time.sleep(1.0)
        log, pace = TimingLog(("period", "round_trip")), Rate(1.0 / rate)
        pace.start()
        lost, before = 0, time.monotonic()
        for tick in range(round(seconds * rate)):
            pace.wait()
            now = time.monotonic()
            expected[0] = float(tick)
            came.clear()
            publisher.publish(messages.write_joints(expected[0], names, zeros, zeros, zeros))
            if came.wait(0.5):
                log.add(now - before, time.monotonic() - now)
            else:
                lost += 1
            before = now
        session.close()
    return {"lost": lost, "missed": pace.missed, "timing_s": log.summary()}


def serve_echo() -> None:
    """The other side of `echo`."""
    session = RosSession("echo")
    publisher = session.node.create_publisher(messages.Float64MultiArray, "echo_out", 1)

    def answer(message: Any) -> None:
        publisher.publish(messages.write_command(np.array(message.position), messages.seconds(message.header.stamp)))

    session.node.create_subscription(messages.JointState, "echo_in", answer, 1)
    session.start()
    print("echo", file=sys.stderr, flush=True)
    threading.Event().wait()


def figures(found: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """Rows of the table: what, found, target, met."""
    inside, over, fast = found["in_process"], found["over_ros"], found["joints_500_hz"]
    rows = [("walk over ROS: exit code", f"{over['exit_code']}", "0", over["exit_code"] == 0)]
    if over.get("timing_s"):
        speed = over["figures"]["forward_velocity"] / inside["forward_velocity"] - 1.0
        # Of equal length: a shorter run over ROS would be no success.
        gain = over["figures"]["return"] / inside["return"] - 1.0
        timing, period = over["timing_s"], 1e3 * over["timing_s"]["period"]["p99"] - 20.0
        rows += [
            ("distance walked against in-process", f"{speed:+.1%}", "within 10 %", abs(speed) <= 0.1),
            ("return against in-process", f"{gain:+.1%}", "within 10 %", abs(gain) <= 0.1),
            ("period p99 - 20 ms", f"{period:+.2f} ms", "2 ms", period <= 2.0),
            ("ticks late by a period or more", f"{over['overruns']}", "0", over["overruns"] == 0),
        ]
        age = 1e3 * timing["state_age"]["p99"]
        rows.append(("state age p99", f"{age:.2f} ms", "10 ms", age < 10.0))
    jitter = 1e3 * fast["jitter_p99"]
    rows.append(("500 Hz: achieved rate", f"{fast['rate_hz']:.1f} Hz", "500", abs(fast["rate_hz"] - 500.0) < 5.0))
    rows.append(("500 Hz, real-time priority: jitter p99", f"{jitter:.2f} ms", "1 ms", jitter < 1.0))
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Control loop over ROS 2, twin and policy node in two processes.")
    parser.add_argument("--minutes", type=float, default=5.0, help="of walking [5]")
    parser.add_argument("--fast-seconds", type=float, default=20.0, help="of the 500 Hz loop and of each echo [20]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo:
        serve_echo()
        return
    seconds = 60.0 * arguments.minutes
    found: dict[str, Any] = {
        "echo_50_hz": echo(50.0, arguments.fast_seconds),
        "echo_500_hz": echo(500.0, arguments.fast_seconds),
        "joints_500_hz": joint_loop(500.0, arguments.fast_seconds),
        "in_process": in_process(seconds),
        "over_ros": deployed(seconds),
    }
    found["load_average"] = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"load average of the machine {found['load_average']:.1f} on {os.cpu_count()} cores")
    for name in ("echo_50_hz", "echo_500_hz", "over_ros", "joints_500_hz"):
        for quantity, of in found[name].get("timing_s", {}).items():
            points = ", ".join(f"{point} {1e3 * value:.2f}" for point, value in of.items())
            print(f"  {name.replace('_', ' '):<15} {quantity.replace('_', ' '):<11} {points} ms")
    for what, value, target, met in figures(found):
        print(f"  {what:<36} {value:>10}   target {target:<12} {'met' if met else 'MISSED'}")


if __name__ == "__main__":
    main()
