"""Randomisation: what is drawn anew at every reset, as named terms of a YAML file; docs/sim_to_real.md has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError, NoPart, UnknownName
from robot_rl.section import Section
from robot_rl.spec import RobotSpec
from robot_rl.yaml_file import read_yaml
from sim import model_terms, other_terms
from sim.distributions import is_distribution
from sim.mujoco_model import compile_model
from sim.parts import Parts
from sim.term import Bound, Term
from sim.terrain import needs_field, terrain

Array = NDArray[np.floating]

PRESETS = Path(__file__).parent / "presets"

TERMS: Mapping[str, Term] = {
    # Motors come before what scales them.
    "actuator_network": Term(other_terms.actuator_network, "file"),
    "torque_speed": Term(other_terms.torque_speed),
    "battery": Term(other_terms.battery, "ratio"),
    "mass": Term(model_terms.mass, "ratio"),
    "inertia": Term(model_terms.inertia, "ratio"),
    "center_of_mass": Term(model_terms.center_of_mass, "share"),
    "payload": Term(model_terms.payload, "ratio"),
    "friction": Term(model_terms.friction, "ratio"),
    "restitution": Term(model_terms.restitution, "value"),
    "damping": Term(model_terms.damping, "ratio"),
    "friction_loss": Term(model_terms.friction_loss, "ratio"),
    "armature": Term(model_terms.armature, "ratio"),
    "gains": Term(model_terms.gains),
    "motor_strength": Term(model_terms.motor_strength, "ratio"),
    "encoder_offset": Term(other_terms.encoder_offset, "angle"),
    "sensor_noise": Term(other_terms.sensor_noise, "ratio"),
    "sensor_bias": Term(other_terms.sensor_bias, "ratio"),
    "actuation_delay": Term(other_terms.actuation_delay, "delay"),
    "observation_delay": Term(other_terms.observation_delay, "delay"),
    "period_jitter": Term(other_terms.period_jitter, "late"),
    "timing": Term(other_terms.timing, "log"),
    "gravity_tilt": Term(model_terms.gravity_tilt, "angle"),
    "push": Term(other_terms.push, "velocity"),
    "terrain": Term(terrain),
}
"""Every term by name, in the order in which they are applied."""

_BY_STEPS = ("actuator_network", "torque_speed", "battery", "actuation_delay", "observation_delay", "timing", "push")
"""Terms that act between two steps of the physics."""
_FILES = {"timing": "log", "actuator_network": "file"}
"""Terms that read a file, and the setting that names it."""
_LATE_READINGS = ("observation_delay", "timing")


class Randomization:
    """Terms and their settings, checked against one robot.

    Attributes:
        name: of the preset or the file.
        settings: of each term, by name, as a file has them.
        left_out: terms of a preset that this robot has no part for.
    """

    def __init__(
        self, settings: Mapping[str, Any], spec: RobotSpec, name: str = "randomize", preset: bool = False
    ) -> None:
        """Checks the settings.

        Args:
            settings: by name of the term.
            spec: the robot.
            name: for messages.
            preset: whether terms that the robot has no part for are left out; otherwise they are an error.

        Raises:
            UnknownName: an unknown term or setting.
            ConfigurationError: a value that cannot be, or a term the robot has no part for.
        """
        if not isinstance(settings, Mapping):
            raise ConfigurationError(f"{name}: expected a mapping of terms, got {type(settings).__name__}")
        for term in settings:
            if term not in TERMS:
                raise UnknownName.of("term", term, TERMS, f"in {name}")
        self.name, self.spec = name, spec
        self.left_out: list[str] = []
        self.settings: dict[str, Any] = {term: settings[term] for term in TERMS if term in settings}
        if {"timing", "period_jitter"} <= set(self.settings):
            raise ConfigurationError(f"{name}: a timing log has its own periods; give timing or period_jitter")
        parts = Parts(self.compile(), spec)
        for term in list(self.settings):
            try:
                bind(term, self.settings[term], parts, name)
            except NoPart as error:
                if not preset:
                    raise NoPart(f"{name}.{term}: {error}") from error
                del self.settings[term]
                self.left_out.append(term)
        if "actuator_network" in self.settings and {"gains", "torque_speed", "battery"} & set(self.settings):
            raise ConfigurationError(
                f"{name}: a learnt motor has its own gains and limits: no gains, torque_speed or battery beside it"
            )
        for term, key in _FILES.items():
            if term in self.settings:
                given = self.settings[term]
                given = given if isinstance(given, Mapping) else {key: given}
                self.settings[term] = {**given, "digest": other_terms.file_digest(given[key])}
        if "battery" in self.settings and "torque_speed" not in self.settings and spec.simulation.motor is None:
            raise ConfigurationError(
                f"{name}.battery: voltage acts through a torque-speed curve; give torque_speed as well, or "
                f"simulation.motor in the file of robot {spec.name!r}"
            )

    def compile(self) -> mujoco.MjModel:
        """The robot's model, with what the terms need in it."""
        ground = self.settings.get("terrain")
        field = isinstance(ground, Mapping) and needs_field(ground.get("kinds"))
        return compile_model(self.spec, terrain=field)


    def spread(self, draws: int = 1000) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each number that is drawn, by name; the same at every call.

        The seed of an episode's events is left out: it says nothing of the robot.
        """
        terms, rng = BoundTerms(self, self.compile(), self.spec), np.random.default_rng(0)
        values = np.array([terms.draw(rng) for _ in range(draws)])  # (draws, V)
        means, deviations = values.mean(axis=0).tolist(), values.std(axis=0).tolist()
        found = dict(zip(terms.names, zip(means, deviations, strict=True), strict=True))
        return {name: spread for name, spread in found.items() if name.split(".")[0] != "seed"}


class BoundTerms:
    """The terms of a randomisation made ready for a model; shared by all copies of a robot.

    Attributes:
        names: of each number that is drawn.
        fields: arrays of the model that terms write.
        restored: those of them that are put back before a reset.
    """

    def __init__(self, randomization: Randomization | None, model: mujoco.MjModel, spec: RobotSpec) -> None:
        """Args: randomization: None for a robot whose motors alone are not ideal; model: as `compile` built it."""
        settings = randomization.settings if randomization else {}
        where = randomization.name if randomization else ""
        self.parts = Parts(model, spec)
        bound = {term: bind(term, settings[term], self.parts, where) for term in settings}
        if randomization:
            bound["seed"] = other_terms.events(self.parts)
        self.items: list[tuple[Bound, slice]] = []
        names: list[str] = []
        for term, one in bound.items():
            self.items.append((one, slice(len(names), len(names) + len(one.labels))))
            names += [f"{term}.{label}" if label else term for label in one.labels]
        self.names = tuple(names)
        self.motors = spec.simulation.motor is not None or "torque_speed" in settings
        self.restored = tuple(dict.fromkeys(field for one in bound.values() for field in one.fields))
        if self.motors:
            self.restored = tuple(dict.fromkeys((*self.restored, "actuator_forcerange")))
        self.fields = (*self.restored, *(("hfield_data",) if model.nhfield else ()))
        self.inertial = any(one.inertial for one in bound.values())
        self.by_steps = self.motors or any(term in settings for term in _BY_STEPS)
        self.late_readings = any(term in settings for term in _LATE_READINGS)

    def draw(self, rng: np.random.Generator) -> Array:
        """A value of each name, (V,)."""
        return np.concatenate([term.draw(rng) for term, _ in self.items]) if self.items else np.zeros(0)


def bind(term: str, settings: Any, parts: Parts, where: str) -> Bound:
    """Makes one term ready for a model; see `Randomization`."""
    kind = TERMS[term]
    if kind.main and is_distribution(settings):
        settings = {kind.main: settings}
    section = Section(settings, f"{where}.{term}")
    found = kind.bind(section, parts)
    section.finish()
    return found


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def load_randomization(given: str | Path | Mapping[str, Any], spec: RobotSpec) -> Randomization:
    """Reads a preset by name, a YAML file, or settings that are there already.

    Args:
        given: name, path (ending in .yaml or .yml, or with a slash), or settings by term.
        spec: the robot.

    Raises:
        UnknownName: no such preset.
        ConfigurationError: the file is missing or wrong, or does not suit the robot.
    """
    if isinstance(given, Mapping):
        return Randomization(given, spec)
    text = str(given)
    is_file = text.endswith((".yaml", ".yml")) or "/" in text
    if not is_file and text not in presets():
        raise UnknownName.of("randomisation", text, presets(), "(or give the path of a YAML file)")
    path = Path(text) if is_file else PRESETS / f"{text}.yaml"
    try:
        settings = read_yaml(path.read_text(encoding="utf-8"), f"randomisation {text}")
    except OSError as error:
        raise ConfigurationError(f"cannot read randomisation {text}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"randomisation {text} is not valid YAML: {error}") from error
    settings = {} if settings is None else settings
    if isinstance(settings, Mapping):
        settings = {term: _beside(of, _FILES.get(term), path) for term, of in settings.items()}
    return Randomization(settings, spec, text, preset=not is_file)


def _beside(settings: Any, key: str | None, path: Path) -> Any:
    """A term's settings; the file that they name is relative to the file that names it."""
    if key is None:
        return settings
    if isinstance(settings, str):
        settings = {key: settings}
    if isinstance(settings, Mapping) and isinstance(settings.get(key), str):
        return {**settings, key: str((path.parent / settings[key]).resolve())}
    return settings
