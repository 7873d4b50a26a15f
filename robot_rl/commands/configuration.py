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

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_rl.commands.config_files import read_file
from robot_rl.commands.training_config import TrainingConfig
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
    suite_tasks,
    task_class,
    task_settings_class,
)
from robot_rl.observation_settings import ObservationSettings
from robot_rl.ros_spec import RosSettings
from robot_rl.settings import from_mapping
from robot_rl.spec import RobotSpec
from robot_rl.spec_file import builtin_robots, load_robot

if TYPE_CHECKING:
    from robot_rl.training.trainer import TrainerSettings


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
        "ray": _apart(values, where, algorithm, settings),
        **counts,
    }


def _apart(values: Mapping[str, Any], where: str, algorithm: str, trainer: TrainerSettings) -> dict[str, Any]:
    """The settings of workers on Ray, empty without any; checks that acting and learning can be parted as asked."""
    from robot_rl.training.ray_workers import RaySettings

    ray = from_mapping(RaySettings, values.get("ray", {}), f"{where}.ray")
    if not ray.workers and ray != RaySettings():
        raise ConfigurationError(f"{where}: settings of 'ray' do not apply without ray.workers (--workers N)")
    asked = [key for key, given in (("trainer.pipeline", trainer.pipeline), ("ray.workers", ray.workers)) if given]
    if not asked:
        return {}
    if len(asked) > 1:
        raise ConfigurationError(f"{where}: trainer.pipeline is for one worker, ray.workers for many; give one of them")
    if not ALGORITHMS[algorithm].replay:
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
