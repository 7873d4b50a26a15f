"""`robot-rl export`: a run's policy as one ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import print_json, relative
from robot_rl.commands.policy_files import POLICY, is_run
from robot_rl.errors import ConfigurationError


def run(arguments: Sequence[str]) -> int:
    """Exports and prints what it came to."""
    parser = Parser("export", "Write a run's policy as one ONNX file, compared with torch before it gets its name.")
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("--out", metavar="FILE.onnx", help=f"where to write it [{POLICY} in the run]")
    parser.add_argument("--checkpoint", metavar="STEP", help="which checkpoint [the newest]")
    add_json(parser)
    values = parser.parse(arguments)
    folder = Path(values.run)
    if not is_run(folder):
        raise ConfigurationError(f"{values.run} is not a run: it has no config.json")
    out = Path(values.out) if values.out else folder / POLICY
    if out.suffix != ".onnx":
        raise ConfigurationError(f"policy file {out}: the name must end in .onnx")
    if not out.parent.is_dir():
        raise ConfigurationError(f"policy file {out}: there is no folder {out.parent}")
    from robot_rl.commands.exporting import export_run

    report = export_run(folder, out, values.checkpoint)
    if values.json:
        print_json(asdict(report))
    else:
        print(
            f"{relative(out)}: {report.size / 1e3:.0f} kB; largest difference to torch {report.max_error:.1e} "
            f"over {report.observations:,} observations"
        )
    return 0
