"""How soon the motors are safe after an emergency stop, a stale state and the death of the policy process.

    python benchmarks/stop_latency.py [--trials 50] [--json]

Twin and policy node are two processes; this one is the person with the button, and watches the commands that pass and
what the motors follow. Measured is the time from the last command of the policy to the moment at which the motors no
longer follow it, which must stay within one control period plus the configured timeout, and the time from the event
itself. Both include the way of the messages to this process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)

import yaml  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import Bool, Float64MultiArray, Header  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from hardware.robot_side import KEPT  # noqa: E402
from hardware.session import RosSession  # noqa: E402
from robot_rl.spec import RobotSpec  # noqa: E402
from robot_rl.spec_file import BUILTIN, load_robot  # noqa: E402

POLICY = ROOT / "policies" / "trained" / "go2-walk.onnx"
_PATIENCE = 60.0
"""s for anything to happen."""


class Bench:
    """A twin, a policy node, and somebody who watches both."""

    def __init__(self, robot: str) -> None:
        self.robot = robot
        self.last_command = 0.0
        self.safe_since = 0.0
        self.phase = ""
        self.session = RosSession("bench")
        node = self.session.node
        node.create_subscription(Float64MultiArray, "commands", self._take_command, 10)
        node.create_subscription(DiagnosticStatus, "twin/motors", self._take_motors, KEPT)
        node.create_subscription(Header, "policy/heartbeat", self._take_heartbeat, 10)
        self.estop = node.create_publisher(Bool, "estop", 1)
        self._clients: dict[str, Any] = {}
        self.session.start()
        self.twin = subprocess.Popen([sys.executable, "-m", "robot_rl.cli", "twin", robot], stderr=subprocess.DEVNULL)
        self.policy: subprocess.Popen[bytes] | None = None

    def _take_command(self, _message: Any) -> None:
        # What follows a stop holds the joints; the last one before it is the policy's.
        if self.phase == "policy":
            self.last_command = time.monotonic()

    def _take_motors(self, status: Any) -> None:
        self.safe_since = time.monotonic() if status.message else 0.0

    def _take_heartbeat(self, message: Any) -> None:
        self.phase = message.frame_id

    def call(self, kind: type, service: str, request: Any) -> Any:
        """The answer of a service; asked again where it is lost."""
        client = self._clients.setdefault(service, self.session.node.create_client(kind, service))
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if client.wait_for_service(1.0):
                answered = threading.Event()
                future = client.call_async(request)
                future.add_done_callback(lambda _, answered=answered: answered.set())
                if answered.wait(5.0):
                    return future.result()
        raise TimeoutError(f"{service} does not answer")

    def stand(self) -> None:
        """Puts the robot back on its feet."""
        self.call(Trigger, "twin/clear", Trigger.Request())
        self.call(Trigger, "twin/reset", Trigger.Request())

    def start_policy(self) -> None:
        """Starts a policy process, which begins to walk by itself."""
        self.stand()
        self.phase = ""
        values = {"policy": str(POLICY), "robot": self.robot, "autostart": "true", "settle_time": "0.1"}
        flags = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
        command = [sys.executable, "-m", "hardware.policy_node", "--ros-args", *flags]
        self.policy = subprocess.Popen(command, stderr=None if "--verbose" in sys.argv else subprocess.DEVNULL)
        self.until(lambda: self.phase == "policy", "the policy does not walk")

    def restart_policy(self) -> None:
        """Lets the policy walk again after a stop."""
        self.estop.publish(Bool(data=False))
        time.sleep(0.2)
        self.call(Trigger, "policy/reset", Trigger.Request())
        self.stand()
        self.phase = ""  # of the run before
        activate = ChangeState.Request()
        activate.transition.id = 3
        self.call(ChangeState, "policy/change_state", activate)
        self.until(lambda: self.phase == "policy", "the policy does not walk again")

    def set_fault(self, **faults: Any) -> None:
        """Sets faults of the twin."""
        given = [Parameter(f"fault.{name}", value=value).to_parameter_msg() for name, value in faults.items()]
        self.call(SetParameters, "twin/set_parameters", SetParameters.Request(parameters=given))

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Waits."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(otherwise)
            time.sleep(0.001)

    def trial(self, event: Callable[[], None]) -> tuple[float, float]:
        """s from the last command to safe motors, and from the event to safe motors."""
        time.sleep(float(np.random.default_rng().uniform(0.1, 0.3)))
        assert self.safe_since == 0.0
        began = time.monotonic()
        event()
        self.until(lambda: self.safe_since > 0.0, "the motors are never safe")
        return self.safe_since - self.last_command, self.safe_since - began

    def close(self) -> None:
        """Ends everything."""
        for process in (self.policy, self.twin):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait()
        self.session.close()


def measure(bench: Bench, spec: RobotSpec, trials: int) -> dict[str, Any]:
    """All three, `trials` times each."""
    kinds: dict[str, Any] = {}

    def note(name: str, allowed: float, event: Callable[[], None], again: Callable[[], None]) -> None:
        times = []
        for index in range(trials):
            times.append(bench.trial(event))
            if index + 1 < trials:
                again()
        last, since = np.array(times).T
        kinds[name] = {
            "trials": trials,
            "allowed_s": allowed,
            "from_last_command_s": {"median": float(np.median(last)), "worst": float(last.max())},
            "from_event_s": {"median": float(np.median(since)), "worst": float(since.max())},
        }

    period = spec.control_dt
    bench.start_policy()
    note("emergency stop", period, lambda: bench.estop.publish(Bool(data=True)), bench.restart_policy)
    bench.restart_policy()

    def whole_again() -> None:
        bench.set_fault(repeat=False)
        bench.restart_policy()

    note("stale state", period + spec.ros.state_timeout, lambda: bench.set_fault(repeat=True), whole_again)
    whole_again()

    def kill() -> None:
        assert bench.policy is not None
        bench.policy.send_signal(signal.SIGKILL)
        bench.policy.wait()

    note("dead policy process", period + spec.ros.command_timeout, kill, bench.start_policy)
    return kinds


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="Time from the last unsafe command to safe motors.")
    parser.add_argument("--trials", type=int, default=50, help="of each kind [50]")
    parser.add_argument("--timeout", type=float, help="s, ros.state_timeout and command_timeout [the robot's file]")
    parser.add_argument("--verbose", action="store_true", help="show what the policy node says")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        robot = "go2"
        if arguments.timeout:
            values = yaml.safe_load((BUILTIN / "go2.yaml").read_text())
            values["simulation"]["model"] = str((BUILTIN / values["simulation"]["model"]).resolve())
            values["ros"] = {"state_timeout": arguments.timeout, "command_timeout": arguments.timeout}
            robot = str(Path(folder) / "go2.yaml")
            Path(robot).write_text(yaml.safe_dump(values, sort_keys=False))
        bench = Bench(robot)
        try:
            found = measure(bench, load_robot(robot), arguments.trials)
        finally:
            bench.close()
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{arguments.trials} trials each, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; ms")
    for name, of in found.items():
        last, since, allowed = of["from_last_command_s"], of["from_event_s"], of["allowed_s"]
        print(
            f"  {name:<20} last command to safe: median {1e3 * last['median']:6.1f}, worst {1e3 * last['worst']:6.1f}, "
            f"allowed {1e3 * allowed:5.0f}  {'met' if last['worst'] <= allowed else 'MISSED'}; "
            f"event to safe: worst {1e3 * since['worst']:6.1f}"
        )


if __name__ == "__main__":
    main()
