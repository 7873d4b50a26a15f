"""`robot-rl transfer`: tries a policy file where the robot differs from its simulation, and certifies what it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.composed_runtime import load_policy
from policies.contract import Contract, read_contract
from robot_rl import make
from robot_rl.certificate import (
    NO_PART,
    NOT_RUN,
    Condition,
    Finding,
    finding,
    nominal_finding,
    overall,
    read_conditions,
    to_dict,
    without,
)
from robot_rl.commands.evaluate import actor, policy_robot, policy_task
from robot_rl.commands.flags import Parser, add_json, positive_number, whole_number
from robot_rl.commands.output import print_json, relative, say, table, version
from robot_rl.commands.policy_files import PolicyFile, find_policy
from robot_rl.commands.transfer_page import page, plot
from robot_rl.commands.writing import make_ready
from robot_rl.errors import CheckFailed, ConfigurationError, NoPart, PolicyError, UnknownName
from robot_rl.evaluation import FIRST_SEED, Act, Evaluation, evaluate
from robot_rl.spec import RobotSpec
from robot_rl.task import Task
from robot_rl.training.files import replace_file, sha256, to_json
from robot_rl.yaml_file import read_yaml

CONDITIONS = Path(__file__).parent.parent / "conditions.yaml"
CERTIFICATE = "certificate.json"


def run(arguments: Sequence[str]) -> int:
    """Measures, writes the certificate, prints its table; exit code 4 where it is not given."""
    values = _parser().parse(arguments)
    file = find_policy(values.policy)
    contract = read_contract(file.path)
    spec = policy_robot(values.robot, contract, file)
    if spec.name != contract.robot.name:
        raise PolicyError(f"policy {contract.name!r} was made for robot {contract.robot.name!r}, not for {spec.name!r}")
    conditions = _conditions(values.conditions, values.only, values.without)
    task = policy_task(contract, spec)
    policy = load_policy(file.path, robot=spec, layout=task.layout)
    engine = _known_engine(file)
    trial = _Trial(spec, task, actor(policy), engine, values.episodes, values.seed, values.seconds)
    folder = Path(values.out) if values.out else _folder(file, contract)
    make_ready(folder / CERTIFICATE)
    say(f"{relative(file.path)}: {len(conditions) + 1} conditions of {values.episodes} episodes each")
    findings = trial.run(conditions)
    about = _about(file, contract, spec, values, arguments, engine)
    given = overall(findings)
    certificate = {**about, "passed": given, "conditions": to_dict(findings)}
    _write(folder, certificate, about, findings, given)
    if values.json:
        print_json({**certificate, "folder": relative(folder)})
    else:
        print(report(about, findings, given))
        print(f"  {relative(folder / 'certificate.html')}  (beside it: .json, .svg, .png)")
    return 0 if given else CheckFailed.exit_code


class _Trial:
    """Runs one policy under one condition after another, always on the same starts and goals."""

    def __init__(
        self, spec: RobotSpec, task: Task, act: Act, engine: str, episodes: int, seed: int, seconds: float | None
    ) -> None:
        self._spec, self._task, self._act, self._engine = spec, task, act, engine
        self._episodes, self._seed, self._seconds = episodes, seed, seconds

    def run(self, conditions: Sequence[Condition]) -> list[Finding]:
        say("  nominal")
        nominal = self._evaluate(self._engine, None)
        findings = [nominal_finding(nominal, self._engine)]
        for condition in conditions:
            say(f"  {condition.name}")
            measure = self._other_engine if condition.other_engine else self._of_terms
            findings.append(measure(condition, nominal))
        return findings

    def _evaluate(self, engine: str, varied: Any) -> Evaluation:
        env = make.make_env(self._spec, self._task, backend=engine, randomization=varied, time_limit=self._seconds)
        try:
            return evaluate(env, self._act, self._episodes, self._seed, faults_fail=True)
        finally:
            env.close()

    def _other_engine(self, condition: Condition, nominal: Evaluation) -> Finding:
        others = [name for name in make.BACKENDS if name not in (self._engine, "ros")]
        if not others:
            return without(condition, NOT_RUN, "there is no other engine")
        try:
            evaluation = self._evaluate(others[0], None)
        except ConfigurationError as error:
            return without(condition, NOT_RUN, str(error))
        return finding(condition, nominal, evaluation, None, others[0])

    def _of_terms(self, condition: Condition, nominal: Evaluation) -> Finding:
        if self._engine != "mujoco":
            return without(condition, NOT_RUN, f"randomisation is for MuJoCo, this policy knew {self._engine}")
        varied, reason = None, ""
        for terms in condition.terms:
            try:
                varied = make.load_randomization(terms, self._spec)
                break
            except NoPart as error:
                reason = str(error.__cause__ or error)
        if varied is None:
            return without(condition, NO_PART, reason)
        return finding(condition, nominal, self._evaluate(self._engine, varied), varied.settings, self._engine)


def report(about: Mapping[str, Any], findings: Sequence[Finding], given: bool) -> str:
    """The certificate as lines for a person."""
    rows = [("condition", "kept", "95 % interval", "at least", "to the end", "success", "")]
    for one in findings:
        verdict = f"{one.verdict}: {one.reason}" if one.reason else one.verdict
        if one.kept is None or one.completed is None:
            rows.append((one.name, "-", "", "", "", "", verdict))
            continue
        rows.append(
            (
                one.name,
                f"{one.kept.value:.0%}",
                f"{one.kept.low:.0%} to {one.kept.high:.0%}",
                f"{one.threshold:.0%}",
                f"{one.completed.value:.0%}",
                "-" if one.success is None else f"{one.success.value:.0%}",
                verdict,
            )
        )
    outcome = "passes" if given else "does not pass"
    head = f"{about['policy']}: {about['task']} on {about['robot']}, {about['episodes']} episodes a condition"
    return f"{head}\n{table(rows)}\n{about['policy']} {outcome}"


def _conditions(path: str | None, only: list[str] | None, left_out: list[str] | None) -> list[Condition]:
    source = Path(path) if path else CONDITIONS
    try:
        values = read_yaml(source.read_text(encoding="utf-8"), f"conditions file {path}")
    except OSError as error:
        raise ConfigurationError(f"cannot read conditions {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"conditions file {path} is not valid YAML: {error}") from error
    found = read_conditions(values, source.name)
    names = [condition.name for condition in found]
    for name in [*(only or ()), *(left_out or ())]:
        if name not in names:
            raise UnknownName.of("condition", name, names)
    return [one for one in found if (not only or one.name in only) and one.name not in (left_out or ())]


def _known_engine(file: PolicyFile) -> str:
    """The engine that the policy was trained in; that of its run where it lies in one."""
    if file.run is None:
        return make.BACKENDS[0]
    from robot_rl.commands.config_files import read_file

    on = read_file(file.run / "config.json").get("on")
    return on if on in make.BACKENDS and on != "ros" else make.BACKENDS[0]


def _about(
    file: PolicyFile, contract: Contract, spec: RobotSpec, values: Any, arguments: Sequence[str], engine: str
) -> dict[str, Any]:
    from datetime import datetime, timezone

    return {
        "policy": contract.name,
        "file": relative(file.path),
        "sha256": sha256(file.path.read_bytes()),
        "robot": spec.name,
        "robot_digest": spec.digest,
        "task": contract.task.name,
        "engine": engine,
        "episodes": values.episodes,
        "seed": values.seed,
        "seconds": values.seconds,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["robot-rl", "transfer", *arguments]),
        "version": version(),
        "left_out": list(values.without or ()),
        "only": list(values.only or ()),
    }


def _folder(file: PolicyFile, contract: Contract) -> Path:
    return file.run / "transfer" if file.run else Path("transfer") / contract.name


def _write(
    folder: Path, certificate: Mapping[str, Any], about: Mapping[str, Any], findings: Sequence[Finding], given: bool
) -> None:
    drawing, picture = plot(findings, str(about["policy"]))
    replace_file(folder / CERTIFICATE, to_json(certificate))
    replace_file(folder / "certificate.svg", drawing)
    replace_file(folder / "certificate.png", picture)
    replace_file(folder / "certificate.html", page(about, findings, given, drawing.decode()).encode())


def _parser() -> Parser:
    parser = Parser(
        "transfer",
        "Certify a policy file before it meets a robot: how much of its return it keeps in another engine, delayed, "
        "noisy, heavier, slippery, weak, pushed and sloped. Exit code 4 where it does not pass.",
    )
    parser.add_argument("policy", help="run folder, ONNX file, or name of a shipped policy (robot-rl list policies)")
    parser.add_argument("--robot", help="YAML file of the robot, where it is not a built-in one")
    parser.add_argument("--episodes", type=whole_number(2), default=20, help="of each condition [20]")
    parser.add_argument("--seconds", type=positive_number, help="length of an episode, s [the task's]")
    parser.add_argument("--seed", type=whole_number(0), default=FIRST_SEED, help=f"of the first episode [{FIRST_SEED}]")
    parser.add_argument("--conditions", metavar="FILE.yaml", help="other conditions and thresholds [conditions.yaml]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these conditions only")
    parser.add_argument("--without", nargs="+", metavar="NAME", help="leave these conditions out")
    parser.add_argument("--out", metavar="DIR", help="where the certificate goes [RUN/transfer or transfer/POLICY]")
    add_json(parser)
    return parser
