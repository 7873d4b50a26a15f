"""Reads a robot from its YAML file, checked key by key, into a RobotSpec; docs/robots.md describes the file.

Nothing here loads a simulator.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from robot_rl.camera_spec import read_camera
from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.kinematics import read_legs
from robot_rl.ros_spec import read_ros
from robot_rl.section import Section
from robot_rl.spec import FLOATING_ONLY, SENSORS, ActionSpec, Array, MotorSpec, RobotSpec, SafetySpec, SimulationSpec
from robot_rl.yaml_file import read_yaml

RESPONSES = ("off", "warn", "clamp", "stop")
STOPS = ("hold", "damp", "limp")
HOTTEST = 150.0
"""degrees Celsius, greatest limit of a motor's temperature: windings do not outlast more."""
BUILTIN = Path(__file__).parent / "robots"


def builtin_robots() -> tuple[str, ...]:
    """Names of the robots that come with the project."""
    return tuple(sorted(path.stem for path in BUILTIN.glob("*.yaml")))


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """Reads a robot by its built-in name or from a YAML file.

    Args:
        name_or_path: `go2`, or the path of a YAML file (anything with a slash or ending in .yaml or .yml).

    Raises:
        UnknownName: no built-in robot of that name.
        ConfigurationError: the file is missing or wrong; the message names the key.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        path = Path(text)
    elif text in builtin_robots():
        path = BUILTIN / f"{text}.yaml"
    else:
        raise UnknownName.of("robot", text, builtin_robots(), "(or give the path of a robot's YAML file)")
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read robot file {text}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"robot file {text} is not UTF-8: {error.reason} at byte {error.start}") from error
    return _read(content, text, path.absolute())


@lru_cache(maxsize=64)
def _read(content: str, text: str, path: Path) -> RobotSpec:
    """The robot of a file's content; a command asks for its robot a dozen times, and a spec never changes.

    Args:
        content: of the file.
        text: the file as the user named it.
        path: of the file, absolute.
    """
    values = read_yaml(content, f"robot file {text}")
    return parse_robot(values, where=path.name, folder=path.parent, source=text)


def parse_robot(values: Any, where: str = "robot", folder: Path | None = None, source: str = "") -> RobotSpec:
    """Checks the content of a robot file and builds its spec.

    Args:
        values: the file's content.
        where: what to call the file in messages.
        folder: where the file lies; the simulated model's path is relative to it.
        source: the file as the user named it.
    """
    top = Section(values, where)
    base = top.choice("base", ("floating", "fixed"))
    control_rate = top.number("control_rate", above=0.0)
    joints = top.section("joints")
    names = tuple(joints.names())
    if not names:
        raise ConfigurationError(f"{joints.where}: expected at least one joint")
    columns = _joint_columns(joints, names)
    feet = top.texts("feet", ())
    objects = top.texts("objects", ())
    sensors = _sensors(top.section("sensors"), base, feet, objects)
    simulation = _simulation(top.section("simulation"), control_rate, feet, base, objects, folder)
    spec = RobotSpec(
        name=top.text("name"),
        description=top.text("description"),
        base=base,
        control_rate=control_rate,
        joint_names=names,
        feet=feet,
        legs=read_legs(top.section("legs", {}), names, feet),
        objects=objects,
        sensors=sensors,
        action=_action(top.section("action"), names, columns),
        simulation=simulation,
        safety=_safety(top.section("safety", {}), control_rate, base, names, columns, sensors, simulation.truth),
        ros=read_ros(top.section("ros", {}), control_rate),
        camera=read_camera(top.section("camera")) if "camera" in top else top.value("camera", None),
        source=source,
        digest="",
        **columns,
    )
    top.finish()  # now every key is one that was asked for, and text, as the digest needs it
    return replace(spec, digest=_digest({key: value for key, value in values.items() if key != "camera"}))


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _joint_columns(joints: Section, names: tuple[str, ...]) -> dict[str, Array]:
    rows = []
    for name in names:
        joint = joints.section(name)
        row = {
            "lower": joint.number("lower"),
            "upper": joint.number("upper"),
            "velocity_limit": joint.number("velocity", above=0.0),
            "effort_limit": joint.number("effort", above=0.0),
            "home": joint.number("home"),
            "kp": joint.number("kp", above=0.0),
            "kd": joint.number("kd", at_least=0.0),
        }
        joint.finish()
        if row["lower"] >= row["upper"]:
            raise ConfigurationError(
                f"{joint.where}: lower {row['lower']:g} must be below upper {row['upper']:g}; "
                "are they the wrong way round?"
            )
        if not row["lower"] <= row["home"] <= row["upper"]:
            raise ConfigurationError(
                f"{joint.where}.home: {row['home']:g} lies outside the limits {row['lower']:g} to {row['upper']:g}"
            )
        rows.append(row)
    return {key: _frozen([row[key] for row in rows]) for key in rows[0]}


def _sensors(section: Section, base: str, feet: tuple[str, ...], objects: tuple[str, ...]) -> dict[str, float]:
    sensors = {}
    for name in section.names():
        if name not in SENSORS:
            raise UnknownName.of("sensor", name, SENSORS, f"in {section.where}")
        sensor = section.section(name)
        sensors[name] = sensor.number("noise", 0.0, at_least=0.0)
        sensor.finish()
        if name == "objects" and sensors[name] > 0.0:
            raise ConfigurationError(
                f"{sensor.where}.noise: expected none, got {sensors[name]:g}; the state of an object has no single unit"
            )
    for needed in ("joint_position", "joint_velocity"):
        if needed not in sensors:
            raise ConfigurationError(f"{section.where}: missing key {needed!r}; every robot senses its joints")
    _check_possible(tuple(sensors), base, feet, objects, section.where)
    return sensors


def _check_possible(
    names: tuple[str, ...], base: str, feet: tuple[str, ...], objects: tuple[str, ...], where: str
) -> None:
    for name in names:
        if name in FLOATING_ONLY and base == "fixed":
            raise ConfigurationError(f"{where}: {name!r} needs a floating base, but this robot's base is fixed")
        if name == "contacts" and not feet:
            raise ConfigurationError(f"{where}: 'contacts' needs the key 'feet' with the names of the feet")
        if name == "objects" and not objects:
            raise ConfigurationError(f"{where}: 'objects' needs the key 'objects' with their names")


def _action(section: Section, names: tuple[str, ...], columns: dict[str, Array]) -> ActionSpec:
    section.choice("kind", ("position",))
    if "coordinates" in section:
        given = section.section("coordinates")
        coordinates = tuple(given.names())
        mixing = np.zeros((len(names), len(coordinates)))
        for column, coordinate in enumerate(coordinates):
            weights = given.section(coordinate)
            for joint in weights.names():
                if joint not in names:
                    raise UnknownName.of("joint", joint, names, f"in {weights.where}")
                mixing[names.index(joint), column] = weights.number(joint)
        if not coordinates:
            raise ConfigurationError(f"{given.where}: expected at least one coordinate")
    else:
        coordinates, mixing = names, np.eye(len(names))
    scale = section.value("scale")
    if isinstance(scale, Mapping):
        values = section.section("scale")
        scales = [values.number(coordinate, above=0.0) for coordinate in coordinates]
        values.finish()
    else:
        scales = [section.number("scale", above=0.0)] * len(coordinates)
    section.finish()
    return ActionSpec(coordinates, _frozen(scales), _frozen(mixing))


def _simulation(
    section: Section,
    control_rate: float,
    feet: tuple[str, ...],
    base: str,
    objects: tuple[str, ...],
    folder: Path | None,
) -> SimulationSpec:
    physics_rate = section.number("physics_rate", above=0.0)
    substeps = physics_rate / control_rate
    if abs(substeps - round(substeps)) > 1e-9 or substeps < 1:
        raise ConfigurationError(
            f"{section.where}.physics_rate: {physics_rate:g} Hz is not a multiple of control_rate {control_rate:g} Hz; "
            f"nearest: {max(1, round(substeps)) * control_rate:g} Hz"
        )
    foot_geoms = section.section("foot_geoms", {foot: foot for foot in feet})
    geoms = tuple(foot_geoms.text(foot) for foot in feet)
    foot_geoms.finish()
    truth = section.texts("truth", ())
    for name in truth:
        if name not in SENSORS:
            raise UnknownName.of("quantity", name, SENSORS, f"in {section.where}.truth")
    _check_possible(truth, base, feet, objects, f"{section.where}.truth")
    model = section.text("model")
    if not model.startswith("menagerie:") and folder is not None and not Path(model).is_absolute():
        model = str((folder / model).resolve())
    spec = SimulationSpec(
        model=model,
        physics_dt=1.0 / physics_rate,
        cone=section.choice("cone", ("pyramidal", "elliptic"), "pyramidal"),
        integrator=section.choice("integrator", ("euler", "implicitfast"), "euler"),
        impratio=section.number("impratio", 1.0, above=0.0),
        actuator_delay=section.number("actuator_delay", 0.0, at_least=0.0),
        base_height=section.number("base_height", 0.0),
        base_body=section.text("base_body", "base"),
        imu_site=section.text("imu_site", "imu"),
        foot_geoms=geoms,
        truth=truth,
        motor=_motor(section.section("motor")) if "motor" in section else section.value("motor", None),
    )
    section.finish()
    return spec


def _motor(section: Section) -> MotorSpec:
    names = ("voltage", "resistance", "torque_constant", "current_limit")
    spec = MotorSpec(*(section.number(name, above=0.0) for name in names))
    section.finish()
    return spec


def _safety(
    section: Section,
    control_rate: float,
    base: str,
    names: tuple[str, ...],
    columns: dict[str, Array],
    sensors: Mapping[str, float],
    truth: tuple[str, ...],
) -> SafetySpec:
    # A limit in another unit (degrees, percent, kelvin, milliseconds) would be one that nothing ever reaches, so that
    # its check stops no robot. Where any sensible value is far below those, there is an upper bound.
    default_step = _frozen(columns["velocity_limit"] / control_rate)
    farthest = float((columns["upper"] - columns["lower"]).max())
    step_limit = section.optional_number("command_step_limit", above=0.0, at_most=farthest, unit="rad or m a tick")
    latest = max(1.0, 1.0 / control_rate)
    floating = base == "floating"
    spec = SafetySpec(
        joint_position=section.choice("joint_position", RESPONSES, "clamp"),
        command_step=section.choice("command_step", RESPONSES, "clamp"),
        command_step_limit=default_step if step_limit is None else _frozen(np.full(default_step.shape, step_limit)),
        joint_velocity=section.choice("joint_velocity", ("off", "warn", "stop"), "warn"),
        tilt=section.choice("tilt", ("off", "warn", "stop"), "stop" if floating else "off"),
        tilt_limit=section.number("tilt_limit", 1.0, above=0.0, at_most=math.pi, unit="rad"),
        height=section.choice("height", ("off", "warn", "stop"), "off"),
        height_limit=section.number("height_limit", 0.0),
        joint_effort=section.choice("joint_effort", ("off", "warn", "stop"), "off"),
        joint_effort_limit=section.number(
            "joint_effort_limit", 1.0, above=0.0, at_most=2.0, unit="times a joint's effort limit"
        ),
        workspace=section.choice("workspace", ("off", "warn", "stop"), "off"),
        workspace_limit=_box(section, base),
        late_tick=section.choice("late_tick", ("off", "warn", "stop"), "warn"),
        late_tick_limit=section.number("late_tick_limit", 1.0 / control_rate, above=0.0, at_most=latest, unit="s"),
        temperature=section.choice("temperature", ("off", "warn", "stop"), "stop"),
        temperature_limit=section.number("temperature_limit", 80.0, at_most=HOTTEST, unit="degrees Celsius"),
        rest=_rest(section.section("rest", {}), names, columns),
        rest_speed=section.number("rest_speed", 0.8, above=0.0),
        stop=section.choice("stop", STOPS, "damp" if floating else "hold"),
    )
    section.finish()
    for check in ("tilt", "height", "workspace", "joint_effort"):
        if getattr(spec, check) != "off":
            _check_watched(check, section, base, {*sensors, *truth})
    return spec


def _check_watched(check: str, section: Section, base: str, known: Collection[str]) -> None:
    """Refuses a check that nothing could ever fail: whoever asks for it relies on it."""
    where, limit = f"{section.where}.{check}", f"{check}_limit"
    if base == "fixed" and check != "joint_effort":
        raise ConfigurationError(f"{where}: expected off, this robot's base is fixed and never moves")
    if check in ("height", "workspace") and limit not in section:
        raise ConfigurationError(f"{where}: needs the key {limit!r} in the same section; without it nothing is refused")
    if check == "joint_effort" and check not in known:
        raise ConfigurationError(f"{where}: needs {check!r} among the robot's sensors; nobody measures it")


def _box(section: Section, base: str) -> Array:
    """The box of `workspace_limit`, (2, 3); without one, all of space."""
    if "workspace_limit" not in section:
        section.value("workspace_limit", None)
        return _frozen([[-np.inf] * 3, [np.inf] * 3])
    if base == "fixed":
        raise ConfigurationError(f"{section.where}.workspace_limit: this robot's base is fixed and never leaves a box")
    given = section.section("workspace_limit")
    box = _frozen([given.numbers("lower", 3), given.numbers("upper", 3)])
    given.finish()
    if not (box[0] < box[1]).all():
        raise ConfigurationError(f"{given.where}: expected lower below upper, got {box[0].tolist()}, {box[1].tolist()}")
    return box


def _rest(section: Section, names: tuple[str, ...], columns: dict[str, Array]) -> Array:
    """The pose of `rest`; joints that it does not name rest at home."""
    pose = np.array(columns["home"])
    for joint in section.names():
        if joint not in names:
            raise UnknownName.of("joint", joint, names, f"in {section.where}")
        index = names.index(joint)
        pose[index] = section.number(joint)
        lower, upper = columns["lower"][index], columns["upper"][index]
        if not lower <= pose[index] <= upper:
            raise ConfigurationError(
                f"{section.where}.{joint}: {pose[index]:g} lies outside the limits {lower:g} to {upper:g}"
            )
    return _frozen(pose)


def _frozen(values: Any) -> Array:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
