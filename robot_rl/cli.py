"""The command `robot-rl`: finds the subcommand, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done; 1 a bug; 2 wrong usage or configuration; 3 robot fault; 4 a check failed; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from robot_rl.errors import RobotRLError, UnknownName
from robot_rl.threads import wait_briefly

COMMANDS = {
    "train": "train a policy",
    "sweep": "train once for every combination of settings and every seed",
    "evaluate": "run a policy file in simulation and measure it",
    "transfer": "certify what a policy file keeps where the robot differs from its simulation",
    "compose": "put several trained policies together without training",
    "export": "write a run's policy as one ONNX file",
    "info": "say what a run, a policy file or a bag is",
    "list": "list robots, tasks, algorithms and policies",
    "deploy": "run a policy file on a robot, or its twin, over ROS 2",
    "guard": "watch over a robot whose motor controller has no watchdog",
    "twin": "simulate a robot behind its ROS topics",
    "record": "record a robot's ROS topics into a bag",
    "transitions": "turn recorded episodes into transitions to learn from",
    "excite": "move a robot so that its motion shows what it is made of, and record that",
    "identify": "identify a robot's simulation from logs of its motion, with uncertainty",
    "actuator": "learn a robot's motors from logs of its joints",
    "doctor": "check a robot's names, signs, units, rates and limits over ROS 2",
    "bench": "measure how fast this machine learns, simulates and acts",
    "demo": "train Go2 to walk, export the policy, run it without torch, and over ROS 2",
}
"""Each lives in robot_rl.commands under its name (`list` as `list_names`), and is imported when it is called."""

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: arguments after the program's name; the process's own by default.

    Returns:
        The exit code.
    """
    wait_briefly()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("ROBOT_RL_DEBUG") == "1" or "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return _dispatch(arguments)
    except RobotRLError as error:
        if debug:
            traceback.print_exc()
        print(f"robot-rl: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("robot-rl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as in `robot-rl list | head -1`; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        print("robot-rl: this is a bug; please report it with the lines above", file=sys.stderr)
        return 1


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name == "--version":
        from robot_rl.commands.output import version

        print(f"robot-rl {version()}")
        return 0
    if name not in COMMANDS:
        raise UnknownName.of("command", name, COMMANDS)
    module = importlib.import_module(f"robot_rl.commands.{'list_names' if name == 'list' else name}")
    return module.run(rest)


def usage() -> str:
    """The overview that `robot-rl --help` prints."""
    lines = [f"  {name:<11} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: robot-rl COMMAND ...",
            "",
            "Train policies for robots and deploy them as one ONNX file.",
            "",
            *lines,
            "",
            "robot-rl COMMAND --help   flags of a command, with units and defaults",
            "robot-rl --version",
            "--debug                   with any command: show where an error came from (or ROBOT_RL_DEBUG=1)",
            "",
            "First steps: robot-rl demo; robot-rl train walk --robot go2; robot-rl list",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
