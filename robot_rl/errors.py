"""The exceptions of robot_rl, one tree.

```
RobotRLError
├── ConfigurationError (ValueError)      a file, a flag or an argument is wrong; exit code 2
│   ├── UnknownName                      a robot, task, joint, sensor or key that does not exist; lists those that do
│   ├── MissingSensor                    a task asks for a sensor that the robot does not have
│   ├── NoPart                           a term of randomisation is about a part that the robot does not have
│   └── RunExists                        a run folder that is already there
├── InvalidInput (ValueError)            NaN, wrong shape or wrong type handed to a running object; exit code 2
├── StorageError (OSError)               a save failed; what was saved before is untouched; exit code 2
├── PolicyError (ValueError)             a policy file is damaged or does not fit; exit code 4
├── CheckFailed                          a parity or threshold check failed; exit code 4
└── RobotFault                           a safety stop or a fault of the robot; exit code 3
    ├── RobotTimeout (TimeoutError)      the robot did not answer in time; exit code 3
    ├── HelpNeeded                       the robot cannot get ready by itself, a person can help; exit code 3
    ├── LearnerEnded                     the process that learns is gone; the robot was stopped; exit code 3
    └── WorkerEnded                      a process that steps environments is gone; exit code 3, or that of what it said
```
"""

from __future__ import annotations

from collections.abc import Iterable


class RobotRLError(Exception):
    """Base of all errors that this project raises on purpose."""

    exit_code = 1


class ConfigurationError(RobotRLError, ValueError):
    """A file, a flag or an argument is wrong."""

    exit_code = 2


class UnknownName(ConfigurationError):
    """A name that does not exist; the message lists the names that do."""

    @classmethod
    def of(cls, kind: str, given: object, allowed: Iterable[str], where: str = "") -> UnknownName:
        """Builds the message `unknown KIND 'GIVEN' WHERE; allowed: A, B, C`."""
        place = f" {where}" if where else ""
        return cls(f"unknown {kind} {given!r}{place}; allowed: {', '.join(allowed)}")


class MissingSensor(ConfigurationError):
    """A task asks for a sensor that the robot does not have."""


class NoPart(ConfigurationError):
    """A term of randomisation is about a part that the robot does not have."""


class RunExists(ConfigurationError):
    """A run folder that is already there."""


class InvalidInput(RobotRLError, ValueError):
    """NaN, a wrong shape or a wrong type handed to a running object."""

    exit_code = 2


class StorageError(RobotRLError, OSError):
    """A save failed; what was saved before is untouched."""

    exit_code = 2


class PolicyError(RobotRLError, ValueError):
    """A policy file is damaged or does not fit the robot, the task or the reader."""

    exit_code = 4


class CheckFailed(RobotRLError):
    """A parity or threshold check failed."""

    exit_code = 4


class RobotFault(RobotRLError):
    """A safety stop or a fault of the robot."""

    exit_code = 3


class RobotTimeout(RobotFault, TimeoutError):
    """The robot did not answer in time."""


class HelpNeeded(RobotFault):
    """The robot cannot get ready by itself; a person can help."""


class LearnerEnded(RobotFault):
    """The process that learns is gone, and the robot was stopped for it."""


class WorkerEnded(RobotFault):
    """A process that steps environments for training is gone."""
