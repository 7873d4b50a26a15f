"""One stage of an identification: logs of one kind of base, fitted together, and what the result is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import ConfigurationError
from robot_rl.motion_log import MotionLog
from robot_rl.spec import RobotSpec
from sim.identifiability import LIMIT, unidentifiable
from sim.identification_fit import LogFit, Progress, floors_of
from sim.identification_parameters import Parameter, applicable, parameters_of, settings_of
from sim.identification_replay import DELAY, Replay
from sim.identified import CONFIDENCE, Found, Validation
from sim.least_squares import Fit, covariance, inverse_of, student_quantile

Array = NDArray[np.floating]

HELD_OUT = 0.2
"""Share of each log, at its end, that nothing is fitted to."""
_WINDOW = 0.5
"""s over which residuals may follow each other."""
_SHORTEST = 3.0
"""s of motion to fit to."""
_TIGHT, _LOOSE = 1.0, 1e-2
"""Information, per scale^2, that numbers are as in the robot's file: while it is open which ones the logs tell, and
afterwards, when it decides nothing any more."""
_DOUBT = 0.5
"""Scales by which a number that the logs do not tell may differ from the robot's file."""


class Stage:
    """Logs of one kind of base.

    Attributes:
        parameters: what is sought.
        values: what was found, by name.
        seconds: of motion that is fitted to.
    """

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
        """Prepares.

        Args:
            spec: the robot.
            base: of all these logs.
            logs: of the robot.
            kinds: what is sought.
            doubted: what is not, and yet is not exactly known.
            known: what was found before, by name.
            threads: simulations at once.
            progress: told what is done.
        """
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
        self._own: Array = np.zeros(0)  # variances, were all that is not sought known exactly
        self._at_bound: set[str] = set()

    def run(self, before: Stage | None) -> None:
        """Fits, gives up what the logs do not tell, and fits the rest again with that as in the robot's file."""
        self._active = list(self.parameters)
        sought = LogFit(self.spec, self._replays, self._active, self.known, self._progress)
        start, prior, total = sought.beginning(), _TIGHT, len(self._active)
        while self._active:
            logs = ", ".join(replay.log.source for replay in self._replays)
            self._progress(f"{self.base}: {len(self._active)} numbers from {self.seconds:.0f} s of {logs}")
            sought = LogFit(self.spec, self._replays, self._active, self.known, self._progress)
            fit = sought.fit(start, prior)
            ranks = [parameter.rank for parameter in self._active]
            given_up = unidentifiable(fit.information, [parameter.name for parameter in self._active], ranks)
            self._progress(f"{self.base}: {fit.steps} steps; {len(given_up)} of {total} numbers given up")
            if not given_up:
                self._settle(sought, fit, before)
                return
            self._reasons |= {self._active[index].name: reason for index, reason in given_up.items()}
            kept = [index for index in range(len(self._active)) if index not in given_up]
            self._active, start, prior = [self._active[index] for index in kept], fit.x[kept], _LOOSE

    def found(self) -> list[Found]:
        """Every number that was sought."""
        index = {parameter.name: k for k, parameter in enumerate(self._active)}
        variances = np.diag(self._covariance)
        half = student_quantile(CONFIDENCE, 1.5 * self.seconds / _WINDOW)
        rows = []
        for one in self.parameters:
            reason = self._reasons.get(one.name, "")
            if one.name == DELAY and self.base == "standing" and not reason:
                # Where they are doubted they shift it by tens of ms, and not along a line, as `_widen` has it; where
                # they are sought beside it, its interval holds the truth too rarely.
                reason = "on its feet it acts like friction_loss and damping: record the robot held as well"
            deviation = np.nan if reason else one.scale * float(np.sqrt(variances[index[one.name]]))
            if one.name == DELAY and not reason:
                coarse = max(replay.log.coarse for replay in self._replays)
                deviation = float(np.hypot(deviation, coarse / np.sqrt(12.0)))
            if deviation > LIMIT * one.scale:
                others = [*self._reasons, *(parameter.name for parameter in self._doubted)]
                rest = f" and {len(others) - 3} more" if len(others) > 3 else ""
                why = f"it depends on what is not identified: {', '.join(others[:3])}{rest}"
                if self._own[index[one.name]] > LIMIT**2:
                    why = "too little motion"
                reason = f"{why}: known to {deviation:.2g} {one.unit} only"
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
            late, floors = replay.time > cut, floors_of(replay)
            errors = [(motion - replay.measured)[late] for motion in replay.motions([{}, known])]
            for sensor in dict.fromkeys(replay.sensors):
                columns = [name == sensor for name in replay.sensors]
                before, after = (float(np.sqrt(np.mean(error[:, columns] ** 2))) for error in errors)
                noise = replay.spec.sensors.get(sensor, 0.0)
                floor = float(np.sqrt(np.mean(floors[columns] ** 2)))
                rows.append(Validation(replay.log.source, sensor, units[sensor], before, after, noise, floor))
        return rows

    def _settle(self, sought: LogFit, fit: Fit, before: Stage | None) -> None:
        """Keeps what was found, and how well it is known."""
        self.values = {p.name: p.nominal + p.scale * float(v) for p, v in zip(self._active, fit.x, strict=True)}
        self._at_bound = {p.name for p, low in zip(self._active, fit.at_bound, strict=True) if low}
        windows = [round(_WINDOW / float(np.median(np.diff(replay.time)))) for replay in self._replays]
        self._covariance = covariance(fit, windows)
        self._own = np.diag(self._covariance).copy()
        # What is not known, and what was found before, is not exact: d x / d y = H_xx^-1 H_xy.
        active = {parameter.name for parameter in self._active}
        unknown = [parameter for parameter in self.parameters if parameter.name not in active] + self._doubted
        self._widen(sought, fit, unknown, _doubt(unknown, self.spec))
        if before is not None and before._active:
            self._widen(sought, fit, before._active, before._covariance)

    def _widen(self, sought: LogFit, fit: Fit, others: Sequence[Parameter], spread: Array) -> None:
        """Adds to the covariance what other numbers bring in whose own covariance is `spread`, in their scales."""
        if not others:
            return
        values = {p.name: p.nominal for p in others} | self.known | self.values
        cross = np.zeros((len(self._active), len(others)))
        for replay, residual, slope, sigma in zip(
            self._replays, fit.residuals, fit.slopes, fit.deviations, strict=True
        ):
            theirs = sought.slopes_of(replay, others, values, replay.measured - residual)
            cross += np.einsum("ptc,qtc->pq", slope / sigma, theirs / sigma, optimize=True)
        follows = inverse_of(fit.information) @ cross
        self._covariance = self._covariance + follows @ spread @ follows.T


def _doubt(unknown: Sequence[Parameter], spec: RobotSpec) -> Array:
    """Covariance of numbers that no log tells, in their scales: half of it common to all joints, of one make."""
    kinds = [p.name if p.joint is None else p.name.removesuffix(spec.joint_names[p.joint]) for p in unknown]
    same = [[float(one == other) for other in kinds] for one in kinds]
    return _DOUBT**2 * 0.5 * (np.eye(len(kinds)) + np.reshape(same, (len(kinds), len(kinds))))
