"""`robot-rl export`: the policy of a run, or of several together, as one ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from robot_rl.commands.flags import Parser, add_json
from robot_rl.commands.output import print_json, relative
from robot_rl.commands.policy_files import POLICY, is_composition, is_run
from robot_rl.errors import ConfigurationError
from robot_rl.make import missing_package
from robot_rl.training.run import runs_within

if TYPE_CHECKING:
    from policies.export import ExportReport


def run(arguments: Sequence[str]) -> int:
    """Exports and prints what it came to."""
    parser = Parser("export", "Write a run's policy as one ONNX file, compared with torch before it gets its name.")
    parser.add_argument("run", help="folder of the run, or of a composed policy")
    parser.add_argument("--out", metavar="FILE.onnx", help=f"where to write it [{POLICY} in the run]")
    parser.add_argument("--checkpoint", metavar="STEP", help="which checkpoint [the newest]")
    add_json(parser)
    values = parser.parse(arguments)
    folder = Path(values.run)
    composed = is_composition(folder)
    if not is_run(folder) and not composed:
        raise ConfigurationError(f"{values.run} is not a run: it has no config.json{runs_within(folder)}")
    out = Path(values.out) if values.out else folder / POLICY
    if out.suffix != ".onnx":
        raise ConfigurationError(f"policy file {out}: the name must end in .onnx")
    if not out.parent.is_dir():
        raise ConfigurationError(f"policy file {out}: there is no folder {out.parent}")
    if composed and values.checkpoint is not None:
        raise ConfigurationError("--checkpoint: a composed policy names the checkpoint of each skill; compose it anew")
    report = _export(folder, out, values.checkpoint, composed)
    if values.json:
        print_json(asdict(report))
    else:
        print(
            f"{relative(out)}: {report.size / 1e3:.0f} kB; largest difference to torch {report.max_error:.1e} "
            f"over {report.observations:,} observations"
        )
    return 0


def _export(folder: Path, out: Path, checkpoint: str | None, composed: bool) -> ExportReport:
    if not composed:
        from robot_rl.commands.exporting import export_run

        return export_run(folder, out, checkpoint)
    try:
        from robot_rl.commands.composing import export_composition
    except ModuleNotFoundError as error:
        raise missing_package(error, "train") from error
    return export_composition(folder, out)
