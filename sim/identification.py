"""Identifies a simulated robot from logs of a real one: which numbers make the simulation move as it did.

First the joints and the delay, from logs of a robot that is held, where nothing else acts on them; then what its body
carries, from logs of it on its feet, with the joints as found. What is not known of the first widens the second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import CheckFailed, ConfigurationError
from robot_rl.motion_log import MotionLog
from robot_rl.spec import RobotSpec
from sim.identifiability import LIMIT, unidentifiable
from sim.identification_parameters import (
    KINDS,
    OBSERVATION_DELAY,
    Parameter,
    applicable,
    check_kinds,
    parameters_of,
    settings_of,
)
from sim.identification_replay import DELAY, Replay
from sim.least_squares import Fit, Residuals, covariance, gauss_newton, inverse_of, student_quantile

Array = NDArray[np.floating]
Progress = Callable[[str], None]

CONFIDENCE = 0.95
"""Of the intervals."""
HELD_OUT = 0.2
"""Share of each log, at its end, that nothing is fitted to."""
_WINDOW = 0.5
"""s over which residuals may follow each other."""
_SHORTEST = 3.0
"""s of motion to fit to."""
_DELAYS = (0.0, 0.01, 0.02, 0.035, 0.05, 0.08)
"""s, where the search for a delay begins."""
_INTERVALS = 2
"""Steps of the physics on either side in which a better delay is looked for."""
_DELAY_SEARCHES = 3
_STEP = 0.03
"""Scales, of the difference that a slope is computed from."""
_TIGHT, _LOOSE = 1.0, 1e-2
"""Information, per scale^2, that numbers are as in the robot's file: while it is open which ones the logs tell, and
afterwards, when it decides nothing any more."""
_DOUBT = 0.5
"""Scales by which a number that the logs do not tell may differ from the robot's file."""
_DOUBTED = ("friction_loss", "damping")
"""What is not sought in logs of a standing robot."""
_STILL = 0.02
"""rad: a joint that covers less does not move."""
_PARTS_OF_LIMIT = 0.0003
"""Of a joint's greatest effort: a measured effort is trusted no further."""


@dataclass(frozen=True)
class Found:
    """One number, and how well it is known."""

    name: str
    """As in `info["randomization"]`: `damping.FL_hip_joint`."""
    unit: str
    nominal: float
    """Of the robot's file."""
    value: float
    """NaN where it is not identified."""
    deviation: float
    """Standard deviation."""
    low: float
    """Of the interval of CONFIDENCE."""
    high: float
    reason: str = ""
    """Why it is not identified; empty where it is."""
    note: str = ""

    @property
    def identified(self) -> bool:
        """Whether the logs tell it."""
        return not self.reason


@dataclass(frozen=True)
class Validation:
    """Motion that nothing was fitted to, simulated with the robot's file and with what was found."""

    source: str
    sensor: str
    unit: str
    before: float
    """Root mean square of the difference, with the robot's file."""
    after: float
    noise: float
    """Standard deviation of the sensor's noise by the robot's file."""


@dataclass(frozen=True)
class Identification:
    """All that logs tell of a robot."""

    robot: str
    found: tuple[Found, ...]
    validation: tuple[Validation, ...]
    correlation: tuple[tuple[str, ...], Array] = field(default_factory=lambda: ((), np.zeros((0, 0))))
    """Names, and correlation of their errors, of the identified ones."""
    jitter: float = 0.0
    """s, deviation of the observation delay from reading to reading."""
    seconds: float = 0.0
    """Of motion that was fitted to."""

    def __getitem__(self, name: str) -> Found:
        """One of them by name."""
        return next(one for one in self.found if one.name == name)


def identify(
    spec: RobotSpec,
    logs: Sequence[MotionLog],
    kinds: Sequence[str] | None = None,
    threads: int = 1,
    progress: Progress = lambda _: None,
) -> Identification:
    """Fits the simulation to logs.

    Args:
        spec: the robot.
        logs: of it, held or standing.
        kinds: what to identify, of KINDS; by default what the logs may show.
        threads: simulations at once.
        progress: told what is done.

    Returns:
        Every number with its interval, or why it is not known; and how well motion is simulated that was not fitted.

    Raises:
        UnknownName: no such kind.
        ConfigurationError: a log of another robot, too short, or with too little motion; a kind that no log shows.
    """
    check_kinds(kinds or ())
    logs = [log.ordered(spec) for log in logs]
    if not logs:
        raise ConfigurationError("an identification needs at least one log")
    for log in logs:
        _check_motion(log, spec)
    wanted = tuple(kinds) if kinds else tuple(name for name, kind in KINDS.items() if kind.by_default)
    if not kinds and any(log.effort is None for log in logs if log.base == "held"):
        # Without torques a gain acts like damping, inertia and delay together; it is what the controller was told.
        wanted = tuple(kind for kind in wanted if kind != "gains")
    stages: list[_Stage] = []
    known: dict[str, float] = {}
    taken: set[str] = set()
    for base in ("held", "standing"):
        of_base = [log for log in logs if log.base == base]
        if not of_base:
            continue
        shown = [k for k in wanted if k in KINDS and k not in taken and (kinds or base in KINDS[k].bases)]
        # A robot that was never held: its friction is not sought, and yet it is not exactly what the file says.
        doubted = [] if base == "held" or stages or kinds else list(_DOUBTED)
        shown, doubted = (list(applicable(some, spec, base)) for some in (shown, doubted))
        stage = _Stage(spec, base, of_base, shown, doubted, known, threads, progress)
        stage.run(stages[-1] if stages else None)
        known |= stage.values
        taken |= {parameter.kind for parameter in stage.parameters}
        stages.append(stage)
    missing = [kind for kind in (kinds or ()) if kind in KINDS and kind not in taken]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)}: robot {spec.name!r} has no part for it in {', '.join(log.source for log in logs)}; "
            f"log bases: {', '.join(sorted({log.base for log in logs}))}"
        )
    found = [one for stage in stages for one in stage.found()]
    delay, jitter = _observation_delay(logs)
    if kinds is None or OBSERVATION_DELAY in kinds:
        found.append(delay)
    if not any(one.identified for one in found if one.name != delay.name):
        raise CheckFailed(
            f"nothing can be identified from {', '.join(log.source for log in logs)}: "
            + "; ".join(f"{one.name}: {one.reason}" for one in found[:3])
            + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
        )
    validation = [one for stage in stages for one in stage.validate(known)]
    return Identification(
        robot=spec.name,
        found=tuple(found),
        validation=tuple(validation),
        correlation=_joined([stage.correlation() for stage in stages]),
        jitter=jitter,
        seconds=sum(stage.seconds for stage in stages),
    )


class _Stage:
    """Logs of one kind of base, fitted together."""

    def __init__(
        self,
        spec: RobotSpec,
        base: str,
        logs: Sequence[MotionLog],
        kinds: Sequence[str],
        doubted: Sequence[str],
        known: Mapping[str, float],
        threads: int,
        progress: Progress,
    ) -> None:
        self.spec, self.base, self.known, self._progress = spec, base, dict(known), progress
        # What was found before is simulated too, though it is not sought again.
        found_before = dict.fromkeys(name.split(".")[0] for name in known)
        simulated = dict.fromkeys([*kinds, *doubted, *found_before])
        terms = settings_of(applicable(list(simulated), spec, base), spec)
        self._whole = [Replay(spec, log, terms, threads) for log in logs]
        self._cuts = [one.time[0] + (1.0 - HELD_OUT) * (one.time[-1] - one.time[0]) for one in self._whole]
        for log, one, cut in zip(logs, self._whole, self._cuts, strict=True):
            if cut - one.time[0] < _SHORTEST:
                raise ConfigurationError(
                    f"{log.source}: {cut - one.time[0]:.1f} s of motion to fit to; expected at least {_SHORTEST:g} s"
                )
        self._replays = [
            Replay(spec, log.part(log.time[0], cut), terms, threads) for log, cut in zip(logs, self._cuts, strict=True)
        ]
        self.seconds = sum(float(one.time[-1] - one.time[0]) for one in self._replays)
        self.parameters = parameters_of(kinds, spec, base, self._replays[0].nominal)
        self._doubted = parameters_of(doubted, spec, base, self._replays[0].nominal)
        self.values: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._active: list[Parameter] = []
        self._covariance: Array = np.zeros((0, 0))
        self._at_bound: set[str] = set()

    def run(self, before: _Stage | None) -> None:
        """Fits, gives up what the logs do not tell, and fits the rest again with that as in the robot's file."""
        self._active = list(self.parameters)
        start: Array = np.zeros(len(self._active))
        self._begin(start)
        prior, names = _TIGHT, [parameter.name for parameter in self._active]
        while self._active:
            logs = ", ".join(replay.log.source for replay in self._replays)
            self._progress(f"{self.base}: {len(self._active)} numbers from {self.seconds:.0f} s of {logs}")
            fit = self._over_delays(self._fit(start, prior), prior)
            ranks = [parameter.rank for parameter in self._active]
            given_up = unidentifiable(fit.information, [parameter.name for parameter in self._active], ranks)
            self._progress(f"{self.base}: {fit.steps} steps; {len(given_up)} of {len(names)} numbers given up")
            if not given_up:
                self._settle(fit, before)
                return
            self._reasons |= {self._active[index].name: reason for index, reason in given_up.items()}
            kept = [index for index in range(len(self._active)) if index not in given_up]
            self._active, start, prior = [self._active[index] for index in kept], fit.x[kept], _LOOSE

    def found(self) -> list[Found]:
        """Every number that was sought."""
        index = {parameter.name: k for k, parameter in enumerate(self._active)}
        degrees = 1.5 * self.seconds / _WINDOW
        half = student_quantile(CONFIDENCE, degrees)
        rows = []
        for one in self.parameters:
            deviation = one.scale * float(np.sqrt(self._covariance[index[one.name]][index[one.name]])) if (
                one.name in index
            ) else np.nan
            if one.name == DELAY and one.name in index:
                coarse = max(replay.log.coarse for replay in self._replays)
                deviation = float(np.hypot(deviation, coarse / np.sqrt(12.0)))
            reason = self._reasons.get(one.name, "")
            if not reason and deviation > LIMIT * one.scale:
                others = [*self._reasons, *(parameter.name for parameter in self._doubted)]
                less = f", while nobody knows {', '.join(others[:3])}" + " ..." * (len(others) > 3) if others else ""
                reason = f"known to {deviation:.2g} {one.unit} only{less}"
            if reason:
                rows.append(Found(one.name, one.unit, one.nominal, np.nan, np.nan, np.nan, np.nan, reason))
                continue
            value = self.values[one.name]
            low, high = max(one.lower, value - half * deviation), value + half * deviation
            note = "at its lower bound" if one.name in self._at_bound else ""
            rows.append(Found(one.name, one.unit, one.nominal, value, deviation, low, high, note=note))
        return rows

    def correlation(self) -> tuple[tuple[str, ...], Array]:
        """Names, and correlation of their errors."""
        deviation = np.sqrt(np.diag(self._covariance))
        return tuple(p.name for p in self._active), self._covariance / np.outer(deviation, deviation)

    def validate(self, known: Mapping[str, float]) -> list[Validation]:
        """Root mean squares on the ends of the logs, that nothing was fitted to."""
        rows = []
        units = {"joint_position": "rad", "joint_velocity": "rad/s", "joint_effort": "N m"}
        for replay, cut in zip(self._whole, self._cuts, strict=True):
            late = replay.time > cut
            errors = [(motion - replay.measured)[late] for motion in replay.motions([{}, known])]
            for sensor in dict.fromkeys(replay.sensors):
                columns = [name == sensor for name in replay.sensors]
                before, after = (float(np.sqrt(np.mean(error[:, columns] ** 2))) for error in errors)
                noise = replay.spec.sensors.get(sensor, 0.0)
                rows.append(Validation(replay.log.source, sensor, units[sensor], before, after, noise))
        return rows

    # -- the fit ------------------------------------------------------------------------------------------------------

    def _values_at(self, x: Array) -> dict[str, float]:
        return self.known | {p.name: p.nominal + p.scale * float(v) for p, v in zip(self._active, x, strict=True)}

    def _residuals_at(self, x: Array) -> list[Array] | None:
        values = self._values_at(x)
        found: list[Array] = [replay.measured - replay.motion(values) for replay in self._replays]
        return found if all(np.isfinite(one).all() for one in found) else None

    def _slopes_at(self, x: Array, residuals: Residuals) -> list[Array]:
        return [
            self._slopes_of(replay, self._active, self._values_at(x), replay.measured - residual)
            for replay, residual in zip(self._replays, residuals, strict=True)
        ]

    def _slopes_of(
        self, replay: Replay, parameters: Sequence[Parameter], values: Mapping[str, float], motion: Array
    ) -> Array:
        """What is simulated by each parameter in its scale, (P, T, C).

        Legs of a held robot do not feel each other, so one simulation serves a parameter of each.
        """
        trees = np.array(replay.trees() if self.base == "held" else [0] * self.spec.joints)
        sensors = motion.shape[1] // len(trees)
        groups: dict[tuple[str, int], list[int]] = {}
        for index, parameter in enumerate(parameters):
            if parameter.joint is None:
                groups[parameter.name, -1] = [index]
                continue
            place = int((trees[: parameter.joint] == trees[parameter.joint]).sum())
            what = parameter.name.removesuffix(self.spec.joint_names[parameter.joint])
            groups.setdefault((what, place), []).append(index)
        candidates = [
            {**values, **{parameters[k].name: values[parameters[k].name] + _STEP * parameters[k].scale for k in group}}
            for group in groups.values()
        ]
        slopes = np.zeros((len(parameters), *motion.shape))
        for group, moved in zip(groups.values(), replay.motions(candidates), strict=True):
            change = np.nan_to_num((moved - motion) / _STEP)
            for index in group:
                joint = parameters[index].joint
                own = slice(None) if joint is None else np.tile(trees == trees[joint], sensors)
                slopes[index][:, own] = change[:, own]
        return slopes

    def _fit(self, start: Array, prior: float) -> Fit:
        lower = np.array([(p.lower - p.nominal) / p.scale for p in self._active])
        try:
            return gauss_newton(self._residuals_at, self._slopes_at, start, lower, self._floors(), prior)
        except ValueError as error:
            raise CheckFailed(f"robot {self.spec.name!r}, {self.base}: {error}") from error

    def _over_delays(self, fit: Fit, prior: float) -> Fit:
        """Looks for a better fit at other delays.

        The cost has a kink wherever a delay is a whole number of steps of the physics, and may have a minimum in each
        interval between two. In between what is simulated goes nearly along a line, so its ends tell where on it the
        best point lies, with the other numbers where their slopes at the fit say that they are best.
        """
        names = [parameter.name for parameter in self._active]
        if DELAY not in names:
            return fit
        own = names.index(DELAY)
        others = np.array([k for k in range(len(names)) if k != own], dtype=int)
        unit = self.spec.simulation.physics_dt / self._active[own].scale
        for _ in range(_DELAY_SEARCHES):
            slopes = zip(fit.slopes, fit.deviations, strict=True)
            weighted = np.concatenate([(slope[others] / s).reshape(len(others), -1) for slope, s in slopes], axis=1)
            normal = inverse_of(weighted @ weighted.T + prior * np.eye(len(others)))
            ends: list[tuple[Array, Array]] = []  # an x and what is left there of the weighted residuals
            first = max(0, int(fit.x[own] / unit) - _INTERVALS)
            for node in range(first, int(fit.x[own] / unit) + _INTERVALS + 2):
                x = fit.x.copy()
                x[own] = node * unit
                residuals = self._residuals_at(x)
                if residuals is None:
                    return fit
                rest = np.concatenate([(r / s).ravel() for r, s in zip(residuals, fit.deviations, strict=True)])
                step = normal @ (weighted @ rest)
                x[others] += step
                ends.append((x, rest - step @ weighted))
            costs, places = [], []
            for (x, left), (y, right) in pairwise(ends):
                # min over t in [0, 1] of |left + t (right - left)|^2
                way = right - left
                t = float(np.clip(-(left @ way) / max(float(way @ way), 1e-300), 0.0, 1.0))
                costs.append(float(np.sum((left + t * way) ** 2)))
                places.append(x + t * (y - x))
            best = places[int(np.argmin(costs))]
            if int(best[own] / unit) == int(fit.x[own] / unit):
                return fit
            found = self._fit(best, prior)
            if _spread(found.residuals, self._floors()) >= _spread(fit.residuals, self._floors()):
                return fit
            delay = 1e3 * found.x[own] * self._active[own].scale
            self._progress(f"{self.base}: a better fit at a delay of {delay:.1f} ms")
            fit = found
        return fit

    def _floors(self) -> list[Array]:
        """Least deviation of each column: a fifth of the noise that the robot's file states."""
        floors = []
        for replay in self._replays:
            least = {"joint_position": 1e-4, "joint_velocity": 1e-2}
            noise = [max(0.2 * replay.spec.sensors.get(name, 0.0), least.get(name, 0.0)) for name in replay.sensors]
            limits = np.tile(_PARTS_OF_LIMIT * self.spec.effort_limit, len(noise) // self.spec.joints)
            of_effort = np.array([name == "joint_effort" for name in replay.sensors])
            floors.append(np.where(of_effort, np.maximum(noise, limits), noise))
        return floors

    def _begin(self, start: Array) -> None:
        """Finds where to begin with what no slope leads to from afar: the delay and the curve of the motors."""
        names = [parameter.name for parameter in self._active]
        scans: list[tuple[tuple[str, ...], list[tuple[float, ...]]]] = [((DELAY,), [(delay,) for delay in _DELAYS])]
        curve = ("torque_speed.stall", "torque_speed.no_load")
        shares = (0.4, 0.7, 1.0, 1.5, 2.5)
        scans.append((curve, [(stall, no_load) for stall in shares for no_load in shares]))
        for unknowns, options in scans:
            if not set(unknowns) <= set(names):
                continue
            index = [names.index(name) for name in unknowns]
            nominal = np.array([self._active[k].nominal for k in index])
            scale = np.array([self._active[k].scale for k in index])
            costs = []
            for option in options:
                start[index] = (np.array(option) - nominal) / scale
                residuals = self._residuals_at(start)
                costs.append(np.inf if residuals is None else _spread(residuals, self._floors()))
            start[index] = (np.array(options[int(np.argmin(costs))]) - nominal) / scale

    def _settle(self, fit: Fit, before: _Stage | None) -> None:
        """Keeps what was found, and how well it is known."""
        self.values = {p.name: p.nominal + p.scale * float(v) for p, v in zip(self._active, fit.x, strict=True)}
        self._at_bound = {p.name for p, low in zip(self._active, fit.at_bound, strict=True) if low}
        windows = [round(_WINDOW / float(np.median(np.diff(replay.time)))) for replay in self._replays]
        self._covariance = covariance(fit, windows)
        # What is not known, and what was found before, is not exact: d x / d y = H_xx^-1 H_xy.
        active = {parameter.name for parameter in self._active}
        unknown = [parameter for parameter in self.parameters if parameter.name not in active] + self._doubted
        self._widen(fit, unknown, _doubt(unknown, self.spec))
        if before is not None and before._active:
            self._widen(fit, before._active, before._covariance)

    def _widen(self, fit: Fit, others: Sequence[Parameter], spread: Array) -> None:
        """Adds to the covariance what other numbers bring in whose own covariance is `spread`, in their scales."""
        if not others:
            return
        values = {p.name: p.nominal for p in others} | self.known | self.values
        cross = np.zeros((len(self._active), len(others)))
        for replay, residual, slope, sigma in zip(
            self._replays, fit.residuals, fit.slopes, fit.deviations, strict=True
        ):
            theirs = self._slopes_of(replay, others, values, replay.measured - residual)
            cross += np.einsum("ptc,qtc->pq", slope / sigma, theirs / sigma, optimize=True)
        follows = inverse_of(fit.information) @ cross
        self._covariance = self._covariance + follows @ spread @ follows.T


def _doubt(unknown: Sequence[Parameter], spec: RobotSpec) -> Array:
    """Covariance of numbers that no log tells, in their scales: half of it common to all joints, of one make."""
    kinds = [p.name if p.joint is None else p.name.removesuffix(spec.joint_names[p.joint]) for p in unknown]
    same = np.array([[one == other for other in kinds] for one in kinds], dtype=np.float64).reshape(len(kinds), len(kinds))
    return _DOUBT**2 * 0.5 * (np.eye(len(kinds)) + same)


def _spread(residuals: Residuals, floors: Sequence[Array]) -> float:
    """Log-likelihood up to signs and constants where every column has its own deviation: sum of T log(rms)."""
    return sum(
        float(len(r) * np.log(np.maximum(floor, np.sqrt(np.mean(r**2, axis=0)))).sum())
        for r, floor in zip(residuals, floors, strict=True)
    )


def _check_motion(log: MotionLog, spec: RobotSpec) -> None:
    """Refuses a log in which nothing moves.

    Raises:
        CheckFailed: names the joints and what cannot be identified.
    """
    moved = np.ptp(log.command, axis=0)
    if (moved < _STILL).all():
        names = ", ".join(log.joints)
        kinds = ", ".join(name for name, kind in KINDS.items() if log.base in kind.bases)
        raise CheckFailed(
            f"{log.source}: too little motion: no joint is told to move by {_STILL:g} rad or more (the most is "
            f"{moved.max():.3f} rad, {log.joints[int(moved.argmax())]}), so nothing of {kinds} can be identified; "
            f"joints: {names}; record with: robot-rl excite {spec.name}"
        )


def _observation_delay(logs: Sequence[MotionLog]) -> tuple[Found, float]:
    """The mean age of the readings by their stamps, and its deviation from reading to reading, s."""
    ages = [(log.age, len(log.time)) for log in logs if log.age is not None]
    name = f"{OBSERVATION_DELAY}.delay"
    if len(ages) < len(logs):
        reason = "collinear: without stamps by the program's clock it acts like actuation_delay.delay, which has both"
        return Found(name, "s", 0.0, np.nan, np.nan, np.nan, np.nan, reason), 0.0
    count = sum(weight for _, weight in ages)
    mean = sum(weight * age[0] for age, weight in ages) / count
    jitter = float(np.sqrt(sum(weight * (age[1] ** 2 + (age[0] - mean) ** 2) for age, weight in ages) / count))
    deviation = jitter / np.sqrt(count)
    low, high = max(0.0, mean - 1.96 * deviation), mean + 1.96 * deviation
    return Found(name, "s", 0.0, mean, deviation, low, high, note="by the stamps of the readings"), jitter


def _joined(parts: Sequence[tuple[tuple[str, ...], Array]]) -> tuple[tuple[str, ...], Array]:
    """Correlations of several stages as one matrix; between stages none is stated."""
    names = tuple(name for of, _ in parts for name in of)
    joined, at = np.zeros((len(names), len(names))), 0
    for of, matrix in parts:
        joined[at : at + len(of), at : at + len(of)] = matrix
        at += len(of)
    return names, joined
