"""What a training run is told: defaults, then the recipe of the task and robot, then `--config FILE`, then flags.

In a file:

    robot: go2
    task: {name: walk, forward: [0.3, 0.9]}
    observation: {history: 4}
    algorithm: sac
    sac: {discount: 0.98}
    trainer: {total_steps: 30000}
    robots: 1
    seed: 0
    on: mujoco
    randomize: mild
    begin_with: runs/walk-go2/RUN
    ray: {workers: 4}

The resolved form has every setting in it. It is saved as the run's config.json, and `--config` reads that too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.make import (
    ALGORITHMS,
    BACKENDS,
    PARTED,
    SIMULATORS,
    SuiteSettings,
    algorithm_of,
    is_suite_task,
    load_randomization,
    make_env,
    make_learner,
    make_privileged,
    make_suite_env,
    make_task,
    make_vector_env,
    suite_tasks,
    task_class,
    task_settings_class,
)
from robot_rl.observation_settings import ObservationSettings
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import from_mapping
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot
from robot_rl.task import Task
from robot_rl.yaml_file import read_yaml

if TYPE_CHECKING:
    from robot_rl.algorithms.learner import Learner
    from robot_rl.make.robots import Randomization
    from robot_rl.privileged import Privileged
    from robot_rl.training.trainer import TrainerSettings

RECIPES = Path(__file__).parent.parent / "recipes"
"""Settings that suit one task on one robot, TASK-ROBOT.yaml."""
PRESETS = Path(__file__).parent.parent / "presets"
"""Settings for any task and robot, which `--config` knows by name."""

SECTIONS = ("task", "observation", "encoder", "trainer", "ros", "real_time", "ray", *ALGORITHMS)
KEYS = ("task", "robot", "algorithm", "robots", "seed", "on", "randomize", "begin_with", *SECTIONS[1:])
RECORDED = ("robot_digest",)
"""Keys that a run's config.json has beside those that a person gives."""


@dataclass(frozen=True)
class TrainingConfig:
    """A resolved configuration; every setting has its value."""

    robot: str | None
    """Built-in name, or absolute path of a YAML file; None for a task that brings its own body."""
    task: str
    task_settings: Mapping[str, Any]
    algorithm: str
    algorithm_settings: Mapping[str, Any]
    trainer: Mapping[str, Any]
    robots: int
    """Copies simulated in step."""
    seed: int
    robot_digest: str | None
    """SHA-256 of what the robot's file says; None without one."""
    on: str = "mujoco"
    """Where the robot lives, one of `robot_rl.make.BACKENDS`."""
    ros: Mapping[str, Any] = field(default_factory=dict)
    """Of `RosSettings`; empty where the robot lives elsewhere."""
    real_time: Mapping[str, Any] = field(default_factory=dict)
    """Of `RealTimeSettings`; empty where time waits for the learner."""
    randomize: Mapping[str, Any] | None = None
    """Terms of randomisation with their settings, whole, so that a run depends on no other file; None for none."""
    observation: Mapping[str, Any] = field(default_factory=dict)
    """Of `ObservationSettings`; empty for a task that brings its own body."""
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Of `EncoderSettings`; empty without a camera."""
    ray: Mapping[str, Any] = field(default_factory=dict)
    """Of `RaySettings`; empty without workers on Ray."""
    begin_with: str | None = None
    """Run whose newest checkpoint the learner begins as; None for a new one."""

    def to_dict(self) -> dict[str, Any]:
        """The form that files have."""
        robot = {} if self.robot is None else {"robot": self.robot, "robot_digest": self.robot_digest}
        found = robot | {
            "robots": self.robots,
            "on": self.on,
            "task": {"name": self.task, **self.task_settings},
            "algorithm": self.algorithm,
            self.algorithm: dict(self.algorithm_settings),
            "trainer": dict(self.trainer),
            "seed": self.seed,
        }
        if self.begin_with is not None:
            found["begin_with"] = self.begin_with
        others = ("observation", "encoder", "ros", "real_time", "randomize", "ray")
        return found | {name: dict(values) for name in others if (values := getattr(self, name))}

    @property
    def title(self) -> str:
        """What is learnt, for a person."""
        return self.task if self.robot is None else f"{self.task} on {self.spec().name}"

    def spec(self) -> RobotSpec:
        """The robot, unchanged since the run was configured.

        Raises:
            ConfigurationError: it has changed, or the task is one without a robot.
        """
        if self.robot is None:
            raise ConfigurationError(
                f"{self.task} has no robot: it is trained and evaluated, and its policy stays in the run"
            )
        spec = load_robot(self.robot)
        if spec.digest != self.robot_digest:
            raise ConfigurationError(
                f"robot file {self.robot} has changed since this run began; put it back, or train a new run"
            )
        return spec

    @property
    def engine(self) -> str:
        """What simulates the robot where one is simulated: for training, and for evaluation always."""
        return self.on if self.on in SIMULATORS else SIMULATORS[0]

    def make_task(self) -> Task:
        """The task on its robot."""
        return make_task(self.task, self.spec(), self.task_settings, self.observation)

    def make_learner(self) -> Learner:
        """The learner, new."""
        chosen = (self.algorithm_settings, self.seed)
        if self.robot is None:
            return make_learner(self.algorithm, self.make_suite_env(), *chosen)
        task = self.make_task()
        return make_learner(self.algorithm, task, *chosen, self.make_privileged(task), self.encoder)

    def make_suite_env(self, render_mode: str | None = None) -> Any:
        """The environment of a task that brings its own body."""
        return make_suite_env(self.task, render_mode=render_mode, **self.task_settings)

    def make_privileged(self, task: Task) -> Privileged | None:
        """What the critics get beside what the policy observes; None for nothing."""
        return make_privileged(task, self.randomization()) if self.observation.get("privileged") else None

    def make_env(self, task: Task) -> Any:
        """The environment to train on the robot in, or on several in step."""
        seconds = self.trainer["episode_seconds"]
        if self.robots != 1:
            return make_vector_env(
                self.spec(),
                task,
                self.robots,
                backend=self.engine,
                time_limit=seconds,
                randomization=self.randomization(),
                privileged=self.make_privileged(task),
            )
        ros = from_mapping(RosSettings, self.ros, "ros") if self.on == "ros" else None
        return make_env(
            self.spec(),
            task,
            backend=self.on,
            ros=ros,
            time_limit=seconds,
            randomization=self.randomization(),
            privileged=self.make_privileged(task),
        )

    def randomization(self) -> Randomization | None:
        """What differs from episode to episode of training."""
        return load_randomization(self.randomize, self.spec()) if self.randomize else None


def read_file(path: str | Path) -> dict[str, Any]:
    """Reads a configuration file and checks its keys, not yet their values.

    Args:
        path: of the file; or, where there is none, the name of one of `PRESETS` or `RECIPES`.

    Raises:
        ConfigurationError: no such file, not YAML, or a key that is unknown or given twice.
    """
    presets = {preset.stem: preset for folder in (RECIPES, PRESETS) for preset in folder.glob("*.yaml")}
    file = Path(path)
    if not file.is_file():
        file = presets.get(str(path), file)
    try:
        values = read_yaml(file.read_text(encoding="utf-8"), f"configuration {path}")
    except OSError as error:
        reason = f"{error.strerror or error} (built in: {', '.join(sorted(presets))})"
        raise ConfigurationError(f"cannot read configuration {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"configuration {path} is not valid YAML: {error}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigurationError(f"configuration {path}: expected a mapping of keys, got {type(values).__name__}")
    if True in values:
        values["on"] = values.pop(True)  # YAML 1.1 takes the bare word `on` for a truth value
    for key in values:
        if key not in (*KEYS, *RECORDED):
            raise UnknownName.of("key", key, KEYS, f"in {path}")
    for section in SECTIONS:
        if section == "task" and isinstance(values.get("task"), str):
            values["task"] = {"name": values["task"]}
        if not isinstance(values.get(section, {}), dict):
            raise ConfigurationError(f"{path}.{section}: expected a mapping of keys, got {values[section]!r}")
    check_names(values, str(path))
    return values


def check_names(values: Mapping[str, Any], where: str) -> None:
    """Refuses names of task, robot, algorithm and place that are no text; by them all else is looked up.

    Args:
        values: with the keys of a configuration file.
        where: they came from, for messages.
    """
    names = {key: values.get(key) for key in ("robot", "algorithm", "on")}
    names["task.name"] = values.get("task", {}).get("name")
    for key, name in names.items():
        if not isinstance(name, (str, type(None))):
            raise ConfigurationError(f"{where}.{key}: expected text, got {type(name).__name__} {name!r}")


def advice(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe for what a person has chosen so far; `chosen` has the keys of a configuration file."""
    variants = []
    if chosen.get("observation", {}).get("camera"):
        variants.append("camera")
    # What goes on from another run observes what that one did.
    if chosen.get("randomize") and not chosen.get("begin_with"):
        variants.append("randomized")
    return recipe(chosen.get("task", {}).get("name"), chosen.get("robot"), chosen.get("algorithm"), variants)


def recipe(
    task: str | None, robot: str | None, algorithm: str | None = None, variants: Sequence[str] = ()
) -> dict[str, Any]:
    """The recommended settings of a task on a built-in robot; empty where there are none.

    Args:
        task: name.
        robot: name.
        algorithm: whose; None for the one that the recipe recommends. An algorithm without a recipe of its own gets
            the recommended one's, without the settings of that algorithm.
        variants: `camera` where the robot's camera is to be observed, `randomized` where the robot is to differ; the
            first of them that has a file TASK-ROBOT-VARIANT counts: what differs there from the general recipe. That of
            the camera goes before an algorithm's own.
    """
    if not task or robot not in builtin_robots():
        return {}

    def file(*variant: str) -> Path:
        return RECIPES / ("-".join([task, robot, *variant]) + ".yaml")

    special = next((one for one in variants if file(one).is_file()), None)
    if algorithm and special != "camera" and file(algorithm).is_file():
        return read_file(file(algorithm))
    layers = [file(), *([file(special)] if special else [])]
    found = layered(*(read_file(layer) for layer in layers if layer.is_file()))
    if algorithm in (None, found.get("algorithm", "sac")):
        return found
    found = {key: value for key, value in found.items() if key not in ("algorithm", *ALGORITHMS) or key == algorithm}
    if algorithm not in PARTED and "observation" in found:
        found["observation"] = {key: value for key, value in found["observation"].items() if key != "privileged"}
    return found


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, section by section."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            result[key] = {**result.get(key, {}), **value} if key in SECTIONS else value
    return result


def resolve(values: Mapping[str, Any], where: str) -> TrainingConfig:
    """Checks a configuration and fills in the defaults.

    Args:
        values: all layers together.
        where: where they came from, for messages.

    Raises:
        ConfigurationError: a key is missing or has a wrong value; says what is allowed.
    """
    task = dict(values.get("task", {}))
    name = task.pop("name", None)
    if name is None:
        raise UnknownName.of("task", "", _task_names(), "(none was given)")
    if is_suite_task(name):
        return _resolve_suite(name, task, values, where)
    kind = task_class(name)
    robot = values.get("robot")
    if not isinstance(robot, str):
        raise ConfigurationError(
            f"robot: expected a name ({', '.join(builtin_robots())}) or a YAML file, got {robot!r}"
        )
    spec = load_robot(robot)
    settings_class = task_settings_class(kind.name)
    if settings_class is None and task:
        raise ConfigurationError(f"{where}.task: task {name!r} has no settings, got: {', '.join(task)}")
    chosen = asdict(from_mapping(settings_class, task, f"{where}.task")) if settings_class else {}
    learning = _learning(values, where)
    observation = asdict(from_mapping(ObservationSettings, values.get("observation", {}), f"{where}.observation"))
    config = TrainingConfig(
        robot=robot if robot in builtin_robots() else str(Path(robot).resolve()),
        task=name,
        task_settings=chosen,
        robot_digest=values.get("robot_digest", spec.digest),
        randomize=_randomize(values, where, spec),
        observation=observation,
        encoder=_encoder(values, where, observation, learning["algorithm"]),
        **learning,
        **_place(values, where, learning["robots"]),
    )
    config.make_task()
    return config


def _encoder(values: Mapping[str, Any], where: str, observation: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    """The settings of the network that looks at pictures; checks that what is observed can be learnt from."""
    asked = [name for name in ("camera", "privileged") if observation[name]]
    if asked and algorithm not in PARTED:
        raise ConfigurationError(
            f"{where}.observation.{asked[0]}: not for the algorithm {algorithm!r}; it takes: {', '.join(PARTED)}"
        )
    if asked and values.get("on") == "ros":
        raise ConfigurationError(f"{where}.observation.{asked[0]}: in simulation only, this robot is on 'ros'")
    if not observation["camera"]:
        if values.get("encoder"):
            raise ConfigurationError(f"{where}: settings of 'encoder' do not apply without observation.camera")
        return {}
    from robot_rl.algorithms.encoder import EncoderSettings

    return asdict(from_mapping(EncoderSettings, values.get("encoder", {}), f"{where}.encoder"))


def _randomize(values: Mapping[str, Any], where: str, spec: RobotSpec) -> Mapping[str, Any] | None:
    """The terms of `randomize`, whole."""
    given, on = values.get("randomize"), values.get("on", SIMULATORS[0])
    if given and on != "mujoco":
        raise ConfigurationError(f"{where}.randomize: for robots simulated by MuJoCo, this one is on {on!r}")
    return load_randomization(given, spec).settings if given else None


def _resolve_suite(name: str, settings: Mapping[str, Any], values: Mapping[str, Any], where: str) -> TrainingConfig:
    """The same for a task that brings its own body."""
    if name not in suite_tasks():
        raise UnknownName.of("task", name, suite_tasks())
    chosen = asdict(from_mapping(SuiteSettings, settings, f"{where}.task"))
    if values.get("robot") is not None:
        raise ConfigurationError(f"{where}.robot: {name} brings its own body; leave the robot out")
    if values.get("on", SIMULATORS[0]) != SIMULATORS[0]:
        raise ConfigurationError(f"{where}.on: {name} exists in {SIMULATORS[0]} only, got {values['on']!r}")
    for key in ("observation", "encoder", "ros", "real_time", "randomize"):
        if values.get(key):
            raise ConfigurationError(f"{where}: settings of {key!r} do not apply to {name}")
    learning = _learning(values, where)
    if learning["robots"] != 1:
        raise ConfigurationError(f"{where}.robots: {name} is trained one at a time, got {learning['robots']}")
    if learning["trainer"]["episode_seconds"] is not None:
        raise ConfigurationError(f"{where}.trainer.episode_seconds: {name} has a time limit of its own")
    return TrainingConfig(robot=None, task=name, task_settings=chosen, robot_digest=None, **learning)


def _learning(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What does not depend on the task: algorithm, trainer, copies and seed, by the names of `TrainingConfig`."""
    from robot_rl.training.trainer import TrainerSettings

    algorithm = values.get("algorithm", "sac")
    known = algorithm_of(algorithm)
    for other in ALGORITHMS:
        if other != algorithm and values.get(other):
            raise ConfigurationError(f"{where}: settings of {other!r} do not apply, the algorithm is {algorithm!r}")
    counts = {key: values.get(key, default) for key, default in (("robots", 1), ("seed", 0))}
    for key, least in (("robots", 1), ("seed", 0)):
        if not isinstance(counts[key], int) or isinstance(counts[key], bool) or counts[key] < least:
            raise ConfigurationError(f"{where}.{key}: expected a whole number of at least {least}, got {counts[key]!r}")
    trainer = dict(values.get("trainer", {}))
    if trainer.pop("seed", counts["seed"]) != counts["seed"]:
        raise ConfigurationError(f"{where}.trainer.seed: give `seed` instead, it seeds everything")
    chosen = from_mapping(known.load(known.settings), values.get(algorithm, {}), f"{where}.{algorithm}")
    workers, on = getattr(chosen, "workers", 0), values.get("on")
    if workers and (counts["robots"] != 1 or on == "ros"):
        raise ConfigurationError(
            f"{where}: each of the {workers} workers of {algorithm} simulates one robot of its own; got robots: "
            f"{counts['robots']}, on: {on or SIMULATORS[0]}. Without workers ({algorithm}.workers 0) any will do"
        )
    settings = from_mapping(TrainerSettings, {**trainer, "seed": counts["seed"]}, f"{where}.trainer")
    begin_with = values.get("begin_with")
    if not isinstance(begin_with, (str, type(None))):
        raise ConfigurationError(f"{where}.begin_with: expected the folder of a run, got {begin_with!r}")
    return {
        "begin_with": begin_with,
        "algorithm": algorithm,
        "algorithm_settings": asdict(chosen),
        "trainer": asdict(settings),
        "ray": _apart(values, where, algorithm, chosen, settings),
        **counts,
    }


def _apart(
    values: Mapping[str, Any], where: str, algorithm: str, chosen: Any, trainer: TrainerSettings
) -> dict[str, Any]:
    """The settings of workers on Ray, empty without any; checks that acting and learning can be parted as asked."""
    from robot_rl.algorithms.on_policy import OnPolicySettings
    from robot_rl.training.ray_workers import RaySettings

    ray = from_mapping(RaySettings, values.get("ray", {}), f"{where}.ray")
    if not ray.workers and ray != RaySettings():
        raise ConfigurationError(f"{where}: settings of 'ray' do not apply without ray.workers (--workers N)")
    asked = [key for key, given in (("trainer.pipeline", trainer.pipeline), ("ray.workers", ray.workers)) if given]
    if not asked:
        return {}
    if len(asked) > 1:
        raise ConfigurationError(f"{where}: trainer.pipeline is for one worker, ray.workers for many; give one of them")
    if isinstance(chosen, OnPolicySettings):
        raise ConfigurationError(
            f"{where}.{asked[0]}: for learners with a replay; {algorithm!r} learns from its own steps"
        )
    if values.get("on") == "ros":
        raise ConfigurationError(f"{where}.{asked[0]}: in simulation only, this robot is on 'ros'")
    return asdict(ray) if ray.workers else {}


def _place(values: Mapping[str, Any], where: str, robots: int) -> dict[str, Any]:
    """Where the robot lives: `on`, and the settings that come with it."""
    from robot_rl.training.real_time import RealTimeSettings

    on, ros, real_time = values.get("on", "mujoco"), values.get("ros", {}), values.get("real_time", {})
    if on not in BACKENDS:
        raise UnknownName.of("place", on, BACKENDS, f"in {where}.on")
    if on != "ros":
        for name, given in (("ros", ros), ("real_time", real_time)):
            if given:
                raise ConfigurationError(f"{where}: settings of {name!r} do not apply, the robot is on {on!r}")
        return {"on": on}
    if robots != 1:
        raise ConfigurationError(f"{where}.robots: over ROS one robot trains, got {robots}")
    ros = asdict(from_mapping(RosSettings, ros, f"{where}.ros"))
    if not ros["lock_step"]:
        return {"on": on, "ros": ros, "real_time": asdict(from_mapping(RealTimeSettings, real_time, "real_time"))}
    if any(value is not None for value in real_time.values()):
        raise ConfigurationError(f"{where}: settings of 'real_time' do not apply, in lock step time waits")
    return {"on": on, "ros": ros}


_WITHOUT_EFFECT = {"a3c": ("critic_epochs", "critic_minibatch"), "acktr": ("critic_minibatch",)}
"""Settings that were saved with runs while these learners took them without using them."""


def saved_config(run: Path) -> TrainingConfig:
    """The configuration that a run was started with."""
    values = read_file(run / "config.json")
    for algorithm, names in _WITHOUT_EFFECT.items():
        for name in names:
            values.get(algorithm, {}).pop(name, None)
    return resolve(values, str(run / "config.json"))


def saved_engine(run: Path) -> str:
    """What a run's robot is simulated in, without looking at its other settings; see `TrainingConfig.engine`."""
    on = read_file(run / "config.json").get("on")
    return on if on in SIMULATORS else SIMULATORS[0]


def has_robot(run: Path) -> bool:
    """Whether a run is that of a robot, and not of a task that brings its own body."""
    name = read_file(run / "config.json").get("task", {}).get("name")
    return not is_suite_task(name)


def saved_robot(run: Path) -> str:
    """The robot that a run was started with, as `load_robot` takes it."""
    robot = read_file(run / "config.json").get("robot")
    if not isinstance(robot, str):
        raise ConfigurationError(f"{run / 'config.json'}: missing key 'robot'")
    return robot


def _task_names() -> list[str]:
    from robot_rl.tasks import TASKS

    return list(TASKS)
