"""Fits some unknowns of a robot's simulation to logs: residuals, slopes, and a search over delays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from robot_rl.errors import CheckFailed
from robot_rl.spec import RobotSpec
from sim.identification_parameters import Parameter
from sim.identification_replay import DELAY, Replay
from sim.least_squares import Fit, Residuals, gauss_newton, inverse_of

Array = NDArray[np.floating]
Progress = Callable[[str], None]

_DELAYS = (0.0, 0.01, 0.02, 0.035, 0.05, 0.08)
"""s, where the search for a delay begins."""
_SHARES = (0.4, 0.7, 1.0, 1.5, 2.5)
"""Ratios, where the search for the curve of the motors begins."""
_INTERVALS = 2
"""Steps of the physics on either side in which a better delay is looked for."""
_DELAY_SEARCHES = 3
_STEP = 0.03
"""Scales, of the difference that a slope is computed from."""
_PARTS_OF_LIMIT = 0.0003
"""Of a joint's greatest effort: a measured effort is trusted no further."""


class LogFit:
    """Some unknowns and the logs that they are fitted to; x are the unknowns in units of their scales, from nominal."""

    def __init__(
        self,
        spec: RobotSpec,
        replays: Sequence[Replay],
        parameters: Sequence[Parameter],
        known: Mapping[str, float],
        progress: Progress,
    ) -> None:
        """Takes in what there is.

        Args:
            spec: the robot.
            replays: of its logs.
            parameters: the unknowns.
            known: other numbers by name.
            progress: told what is done.
        """
        self.spec, self.replays, self.parameters = spec, replays, parameters
        self._known, self._progress = dict(known), progress
        self._floors = [floors_of(replay) for replay in replays]

    def values(self, x: Array) -> dict[str, float]:
        """All numbers by name, the known ones too."""
        return self._known | {p.name: p.nominal + p.scale * float(v) for p, v in zip(self.parameters, x, strict=True)}

    def residuals(self, x: Array) -> list[Array] | None:
        """Measured minus simulated, (T, C) of each log; None where a simulation diverged."""
        values = self.values(x)
        found: list[Array] = [replay.measured - replay.motion(values) for replay in self.replays]
        return found if all(np.isfinite(one).all() for one in found) else None

    def slopes(self, x: Array, residuals: Residuals) -> list[Array]:
        """(P, T, C) of each log, given the residuals at x."""
        return [
            self.slopes_of(replay, self.parameters, self.values(x), replay.measured - residual)
            for replay, residual in zip(self.replays, residuals, strict=True)
        ]

    def slopes_of(
        self, replay: Replay, parameters: Sequence[Parameter], values: Mapping[str, float], motion: Array
    ) -> Array:
        """What is simulated by each parameter in its scale, (P, T, C).

        Legs of a held robot do not feel each other, so one simulation serves a parameter of each.
        """
        trees = np.array(replay.trees() if replay.log.base == "held" else [0] * self.spec.joints)
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

    def beginning(self) -> Array:
        """Finds where to begin with what no slope leads to from afar: the delay and the curve of the motors."""
        start: Array = np.zeros(len(self.parameters))
        names = [parameter.name for parameter in self.parameters]
        scans: list[tuple[tuple[str, ...], list[tuple[float, ...]]]] = [((DELAY,), [(delay,) for delay in _DELAYS])]
        curve = ("torque_speed.stall", "torque_speed.no_load")
        scans.append((curve, [(stall, no_load) for stall in _SHARES for no_load in _SHARES]))
        for unknowns, options in scans:
            if not set(unknowns) <= set(names):
                continue
            index = [names.index(name) for name in unknowns]
            nominal = np.array([self.parameters[k].nominal for k in index])
            scale = np.array([self.parameters[k].scale for k in index])
            costs = []
            for option in options:
                start[index] = (np.array(option) - nominal) / scale
                residuals = self.residuals(start)
                costs.append(np.inf if residuals is None else _spread(residuals, self._floors))
            start[index] = (np.array(options[int(np.argmin(costs))]) - nominal) / scale
        return start

    def fit(self, start: Array, prior: float) -> Fit:
        """The best x near a start, whatever the delay; `prior` as in `gauss_newton`.

        Raises:
            CheckFailed: the simulation diverges at the start.
        """
        fit = self._from(start, prior)
        return self._over_delays(fit, prior) if any(p.name == DELAY for p in self.parameters) else fit

    def _from(self, start: Array, prior: float) -> Fit:
        lower = np.array([(p.lower - p.nominal) / p.scale for p in self.parameters])
        try:
            return gauss_newton(self.residuals, self.slopes, start, lower, self._floors, prior)
        except ValueError as error:
            logs = ", ".join(replay.log.source for replay in self.replays)
            raise CheckFailed(f"robot {self.spec.name!r}, {logs}: {error}") from error

    def _over_delays(self, fit: Fit, prior: float) -> Fit:
        """Looks for a better fit at other delays.

        The cost has a kink wherever a delay is a whole number of steps of the physics, and may have a minimum in each
        interval between two. In between what is simulated goes nearly along a line, so its ends tell where on it the
        best point lies, with the other numbers where their slopes at the fit say that they are best.
        """
        names = [parameter.name for parameter in self.parameters]
        own = names.index(DELAY)
        others = np.array([k for k in range(len(names)) if k != own], dtype=int)
        unit = self.spec.simulation.physics_dt / self.parameters[own].scale
        for _ in range(_DELAY_SEARCHES):
            slopes = zip(fit.slopes, fit.deviations, strict=True)
            # No -1 for the width: the delay may be the only unknown, and it cannot be told from no rows.
            parts = [(slope[others] / s).reshape(len(others), slope[0].size) for slope, s in slopes]
            weighted = np.concatenate(parts, axis=1)
            normal = inverse_of(weighted @ weighted.T + prior * np.eye(len(others)))
            ends: list[tuple[Array, Array]] = []  # an x and what is left there of the weighted residuals
            first = max(0, int(fit.x[own] / unit) - _INTERVALS)
            for node in range(first, int(fit.x[own] / unit) + _INTERVALS + 2):
                x = fit.x.copy()
                x[own] = node * unit
                residuals = self.residuals(x)
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
            found = self._from(best, prior)
            if _spread(found.residuals, self._floors) >= _spread(fit.residuals, self._floors):
                return fit
            delay = 1e3 * found.x[own] * self.parameters[own].scale
            self._progress(f"a better fit at a delay of {delay:.1f} ms")
            fit = found
        return fit


def floors_of(replay: Replay) -> Array:
    """Least deviation of each column that means anything, (C,): a fifth of the noise that the robot's file states."""
    spec, least = replay.spec, {"joint_position": 1e-4, "joint_velocity": 1e-2}
    noise = [max(0.2 * spec.sensors.get(name, 0.0), least.get(name, 0.0)) for name in replay.sensors]
    limits = np.tile(_PARTS_OF_LIMIT * spec.effort_limit, len(noise) // spec.joints)
    of_effort = np.array([name == "joint_effort" for name in replay.sensors])
    return np.where(of_effort, np.maximum(noise, limits), noise)


def _spread(residuals: Residuals, floors: Sequence[Array]) -> float:
    """Log-likelihood up to signs and constants where every column has its own deviation: sum of T log(rms)."""
    return sum(
        float(len(r) * np.log(np.maximum(floor, np.sqrt(np.mean(r**2, axis=0)))).sum())
        for r, floor in zip(residuals, floors, strict=True)
    )
