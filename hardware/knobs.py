"""What an operator turns on a composed policy while it runs: weights of the skills and temperature; no ROS in here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policies.composed_runtime import AnyPolicy, ComposedPolicy, ComposedRunner, checked_temperature, new_runner
from policies.runtime import PolicyRunner
from robot_rl.algorithms.tabular.composition import skill_weights
from robot_rl.errors import PolicyError, UnknownName

KNOBS = ("weights", "temperature")


class Knobs:
    """The knobs of whatever runner acts now; any thread may turn them.

    Attributes:
        skills: names, in the order of the weights; empty for a plain policy.
    """

    def __init__(self, runner: PolicyRunner) -> None:
        """Args: runner: of a policy of either kind."""
        self._runner = runner
        self.skills = _skills(runner.policy)

    @property
    def composed(self) -> bool:
        """Whether there is anything to turn."""
        return bool(self.skills)

    def now(self, knob: str) -> Any:
        """What a knob stands at, as a list of numbers or a number."""
        runner = self._composed_runner(knob)
        return runner.target.tolist() if knob == "weights" else runner.temperature

    def checked(self, knob: str, value: float | Sequence[float]) -> Any:
        """The value, if the knob may have it.

        Raises:
            UnknownName: no such knob.
            InvalidInput: weights that are not N numbers >= 0 of sum one; a temperature that is not above zero.
        """
        self._composed_runner(knob)
        return skill_weights(value, len(self.skills)) if knob == "weights" else checked_temperature(value)  # type: ignore[arg-type]

    def set(self, knob: str, value: float | Sequence[float]) -> None:
        """Turns a knob; weights follow at their limited rate. Raises as `checked`."""
        runner, checked = self._composed_runner(knob), self.checked(knob, value)
        setattr(runner, knob, checked)

    def begin(self, knob: str, value: float | Sequence[float]) -> None:
        """Sets a knob before the policy runs: weights are there at once. Raises as `checked`."""
        self.set(knob, value)
        if knob == "weights":
            self._composed_runner(knob).arrive()

    def check(self, policy: AnyPolicy, path: str) -> None:
        """Refuses a policy that cannot take over.

        Args:
            policy: what shall take over.
            path: of its file, for the message.

        Raises:
            PolicyError: it has other skills than the one that runs.
        """
        theirs = _skills(policy)
        if theirs != self.skills:
            raise PolicyError(f"{path}: its skills are {_named(theirs)}, the one that runs has {_named(self.skills)}")

    def follow(self, policy: AnyPolicy, path: str) -> PolicyRunner:
        """The runner of another policy, with the knobs where they are. Takes and raises what `check` does."""
        self.check(policy, path)
        before = self._runner
        rate = before.rate if isinstance(before, ComposedRunner) else 1.0
        self._runner = new_runner(policy, rate)
        if isinstance(before, ComposedRunner) and isinstance(self._runner, ComposedRunner):
            self._runner.take_knobs(before)
        return self._runner

    def _composed_runner(self, knob: str) -> ComposedRunner:
        if knob not in KNOBS or not isinstance(self._runner, ComposedRunner):
            raise UnknownName.of("knob", knob, KNOBS if self.composed else ("(none: the policy is a plain one)",))
        return self._runner


def _skills(policy: Any) -> tuple[str, ...]:
    return policy.skills if isinstance(policy, ComposedPolicy) else ()


def _named(skills: tuple[str, ...]) -> str:
    return f"({', '.join(skills)})" if skills else "none, it is a plain policy"
