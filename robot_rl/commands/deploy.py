"""`robot-rl deploy`: runs a policy file on whatever answers on a robot's topics, twin or robot."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from policies.contract import Contract, read_contract
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.cli import INTERRUPTED
from robot_rl.commands.asking import ask, check_can_ask
from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, relative, say, table
from robot_rl.commands.policy_files import find_policy
from robot_rl.errors import ConfigurationError, RobotFault
from robot_rl.make import make_deployment
from robot_rl.spec_file import builtin_robots, load_robot

Deployment = Any
"""`hardware.deployment.Deployment`; a command knows it by `make` alone."""

LATE = ("actuation_delay", "observation_delay", "timing")
"""Terms of randomisation with which a policy learns with late commands or readings."""
_STATUS_PERIOD = 3.0
"""s between lines about how it goes."""


class _Signals:
    """Counts what Ctrl-C and SIGTERM ask for."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, *_: Any) -> None:
        self.count += 1


def run(arguments: Sequence[str]) -> int:
    """Deploys, watches and reports."""
    values = _parser().parse(arguments)
    check_can_ask(values.yes)
    path = find_policy(values.policy).path
    contract = read_contract(path)
    robot = _robot(values.robot, contract)
    parameters: dict[str, Any] = {"policy": str(path), "robot": robot}
    parameters |= {name: getattr(values, name) for name in _FLAGS if getattr(values, name) is not None}
    if values.goal is not None:
        parameters |= _goals(contract.task.goal_labels, values.goal)
    if values.weights is not None:
        parameters["weights"] = _weights(contract, values.weights)
    with _signals() as signals:
        deployment = make_deployment(parameters, values.namespace)
        # The service for it ends with this command.
        deployment.node.cure = "once it may move again, deploy with --reset"
        try:
            say(f"{relative(path)} on {robot}: looking for the robot")
            if not (values.lock_step or knows_delay(contract.training)):
                say("it learnt with commands that come at once; here they are late: see docs/deployment.md")
            interrupted = _wait(deployment, "configure", signals)
            if values.reset and not interrupted:
                deployment.node.reset()
            if not interrupted and not _agreed(deployment, values.yes, robot):
                say("nothing was moved")
                return INTERRUPTED
            interrupted = interrupted or _start(deployment, signals, values.seconds)
            if not interrupted:
                interrupted = _watch(deployment, signals)
                _leave(deployment, signals)
            return _finish(deployment, interrupted, values.json)
        finally:
            deployment.close()


def _robot(given: str | None, contract: Contract) -> str:
    """The robot to deploy on: the one given, or that of the policy; checked.

    Raises:
        ConfigurationError: there is no such robot, or no built-in one of the name that the policy gives.
    """
    if given is None and contract.robot.name not in builtin_robots():
        raise ConfigurationError(
            f"{contract.name} was made for {contract.robot.name!r}, which is no built-in robot: say where its file is, "
            f"--robot {contract.robot.name}.yaml"
        )
    load_robot(robot := given or contract.robot.name)
    return robot


def knows_delay(training: Mapping[str, Any]) -> bool:
    """Whether a policy learnt with late commands or readings; also where its contract does not tell, by `training`."""
    if not training or training.get("on") == "ros":
        return True
    return not training.get("randomize", {}).keys().isdisjoint(LATE)


def _agreed(deployment: Deployment, yes: bool, robot: str) -> bool:
    return yes or ask(f"{robot} ({'a simulator' if deployment.node.simulated else 'a robot'}) will move. Go on?")


def _wait(deployment: Deployment, transition: str, signals: _Signals) -> bool:
    """Goes through a transition; returns whether a signal ended the waiting."""
    call = deployment.transition(transition)
    while not call.wait(0.05):
        if signals.count:
            return True
    call.result()
    return signals.count > 0


def _start(deployment: Deployment, signals: _Signals, seconds: float | None) -> bool:
    loop = deployment.node.loop
    assert loop is not None
    loop.limit = None if seconds is None else max(1, round(seconds * loop.robot.spec.control_rate))
    return _wait(deployment, "activate", signals)


def _watch(deployment: Deployment, signals: _Signals) -> bool:
    """Prints how it goes until a signal, the time limit or a stop; returns whether it was a signal."""
    loop = deployment.node.loop
    assert loop is not None
    said = time.monotonic()
    while loop.running:
        if signals.count:
            return True
        if time.monotonic() - said >= _STATUS_PERIOD:
            said = time.monotonic()
            say(_status(loop))
        time.sleep(0.05)
    return False


def _leave(deployment: Deployment, signals: _Signals) -> None:
    """Ramps out; one more signal stops at once."""
    asked = signals.count
    if deployment.node.label != "active":
        return
    call = deployment.transition("deactivate")
    while not call.wait(0.05):
        if signals.count > asked:
            deployment.node.stop("interrupted twice")
            asked = signals.count


def _status(loop: Any) -> str:
    wanted = loop.goals.now(time.monotonic()).values
    goal = ", ".join(f"{label} {value:g}" for label, value in zip(loop.goals.labels, wanted, strict=True))
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in loop.figures.items())
    counts = ", ".join(f"{check} {count}" for check, count in loop.supervision.counts.items())
    period = loop.robot.timing.summary(newest=200).get("period")
    rate = f"{1.0 / period['p50']:.1f} Hz, period p99 {1e3 * period['p99']:.1f} ms" if period else "-"
    parts = [f"{loop.phase} {loop.ticks * loop.robot.spec.control_dt:.0f} s", f"goal: {goal or '-'}", figures, rate]
    return "; ".join(part for part in (*parts, f"safety: {counts or 'none'}") if part)


def _finish(deployment: Deployment, interrupted: bool, as_json: bool) -> int:
    loop = deployment.node.loop
    report = deployment.report
    if loop is None or report is None:
        say("interrupted before the robot moved")
        return INTERRUPTED
    if as_json:
        print_json({"robot": loop.robot.spec.name, "simulated": deployment.node.simulated, **report.to_dict()})
    else:
        print(_table(report))
    if loop.failure is not None:
        raise loop.failure
    if report.stopped:
        raise RobotFault(f"stopped: {report.stopped}")
    return INTERRUPTED if interrupted else 0


def _table(report: Any) -> str:
    rows = [("time", f"{report.seconds:.1f} s, {report.ticks} ticks"), ("rate", f"{report.rate:.2f} Hz")]
    for name, of in report.timing.items():
        milliseconds = ", ".join(f"{point} {1e3 * value:.2f}" for point, value in of.items())
        rows.append((name.replace("_", " "), f"{milliseconds} ms"))
    rows.append(("overruns", str(report.overruns)))
    rows += [(name.replace("_", " "), f"{value:.3f}") for name, value in report.figures.items()]
    rows.append(("safety", ", ".join(f"{check} {count}" for check, count in report.safety.items()) or "nothing"))
    if report.stopped:
        rows.append(("stopped", report.stopped))
    return table(rows, indent="")


def _goals(labels: Sequence[str], given: Sequence[float]) -> dict[str, float]:
    """Parameters of the goal's components, in the order of their labels."""
    if len(given) != len(labels):
        raise ConfigurationError(f"--goal: expected {len(labels)} numbers ({', '.join(labels)}), got {len(given)}")
    names = [label.rsplit(" ", 1)[0].replace(" ", "_") for label in labels]
    return {f"goal.{name}": float(value) for name, value in zip(names, given, strict=True)}


def _weights(contract: Contract, given: Sequence[float]) -> list[float]:
    """The parameter of a composed policy's weights."""
    if contract.composition is None:
        raise ConfigurationError(f"--weights: {contract.name} is a plain policy, it has no skills to weigh")
    return skill_weights(given, len(contract.composition.skills)).tolist()


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_FLAGS = (
    "lock_step", "through_guard", "settle_time", "estop_button", "cmd_vel_timeout", "priority", "lock_memory",
    "pause_collector", "record", "weight_rate",
)  # fmt: skip
"""Flags that are parameters of the node."""


def _parser() -> Parser:
    parser = Parser("deploy", "Run a policy file on whatever answers on a robot's ROS topics, twin or robot.")
    parser.add_argument("policy", help="ONNX file, run folder, or name of a shipped policy")
    parser.add_argument("--robot", help="built-in robot or YAML file [the one that the policy was made for]")
    parser.add_argument("--namespace", default="", metavar="NAME", help="before all relative topic names")
    goal = "in the units that `robot-rl info` gives [middle of training]"
    parser.add_argument("--goal", type=float, nargs="+", metavar="X", help=goal)
    weights = "of a composed policy's skills, sum 1 [the file's]; turn them later by the parameter or the topic"
    parser.add_argument("--weights", type=float, nargs="+", metavar="W", help=weights)
    rate = "1/s, by which such a weight changes at most [0.5]"
    parser.add_argument("--weight-rate", type=positive_number, metavar="R", help=rate)
    parser.add_argument("--seconds", type=positive_number, help="of running the policy, then ramp out [until Ctrl-C]")
    parser.add_argument("--yes", action="store_true", help="move the robot without asking")
    parser.add_argument("--reset", action="store_true", help="end a stop that is latched on the robot's side")
    parser.add_argument("--lock-step", action="store_true", help="the other side is a twin that waits for each command")
    parser.add_argument("--through-guard", action="store_true", help="send commands through the guard node")
    parser.add_argument("--settle-time", type=positive_number, metavar="S", help="s at rest before the policy [0.5]")
    parser.add_argument("--cmd-vel-timeout", type=positive_number, metavar="S", help="s that cmd_vel counts [0.5]")
    parser.add_argument("--estop-button", type=int, metavar="N", help="joystick button that stops; -1 for none [1]")
    parser.add_argument("--priority", type=whole_number(0), help="of the control thread, SCHED_FIFO, 1 to 99 [none]")
    parser.add_argument("--lock-memory", action="store_true", help="keep the process in memory")
    parser.add_argument("--pause-collector", action="store_true", help="no garbage collection while active")
    record = "new folder for a bag of the robot's topics and of what the policy sees and does [none]"
    parser.add_argument("--record", metavar="FOLDER", help=record)
    add_json(parser)
    return parser
