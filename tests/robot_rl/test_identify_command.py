"""`robot-rl excite` and `robot-rl identify` as a person calls them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from robot_rl.cli import main
from robot_rl.commands.identify import _failures
from robot_rl.spec_file import load_robot
from sim.identified import Identification, Validation
from sim.randomization import load_randomization


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A hidden arm's log, as `excite` writes it."""
    folder = tmp_path_factory.mktemp("identify")
    hidden = {"damping": {"value": 0.3}, "friction_loss": {"value": 0.1}, "actuation_delay": {"delay": 0.011}}
    (folder / "hidden.yaml").write_text(yaml.safe_dump(hidden))
    flags = ["--seconds", "14", "--amplitude", "0.5", "--randomize", str(folder / "hidden.yaml")]
    assert main(["excite", "planar_arm", "--out", str(folder / "arm.npz"), *flags]) == 0
    return folder


def test_what_excite_records_identify_turns_into_a_file_for_training(folder, capsys):
    out = folder / "arm.yaml"
    flags = ["--parameters", "damping", "friction_loss", "actuation_delay", "--threads", "1", "--json"]
    assert main(["identify", "planar_arm", str(folder / "arm.npz"), "--out", str(out), *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    found = {one["name"]: one for one in result["parameters"]}
    spec = load_robot("planar_arm")
    for joint in spec.joint_names:
        assert found[f"damping.{joint}"]["value"] == pytest.approx(0.3, rel=0.15)
        assert found[f"friction_loss.{joint}"]["value"] == pytest.approx(0.1, rel=0.15)
    assert found["actuation_delay.delay"]["value"] == pytest.approx(0.011, abs=2e-3)
    assert result["failures"] == []
    assert load_randomization(str(out), spec).settings.keys() == {"damping", "friction_loss", "actuation_delay"}
    assert json.loads(out.with_suffix(".json").read_text())["robot"] == "planar_arm"
    for one in result["validation"]:
        assert one["after"] < one["before"]


def test_the_table_says_what_was_found_and_how_well_it_simulates(folder, capsys):
    flags = ["--parameters", "damping", "--fixed", "--threads", "1"]
    assert main(["identify", "planar_arm", str(folder), *flags]) == 0
    out = capsys.readouterr().out
    joint = load_robot("planar_arm").joint_names[0]
    assert f"damping.{joint}" in out
    assert "95 % interval" in out
    assert "held-out motion, RMS error" in out
    numbers = yaml.safe_load(out[out.index("damping:\n") :])["damping"]["value"]
    assert all(isinstance(value, float) for value in numbers.values())


def test_what_was_asked_for_and_is_not_told_has_exit_code_4(folder, failed):
    flags = ["--parameters", "torque_speed", "--threads", "1"]
    code, line = failed("identify", "planar_arm", folder / "arm.npz", *flags)
    assert code == 4
    assert "torque_speed.stall: too little motion" in line


def test_what_is_not_identified_is_null_in_the_file_beside(folder, capsys, tmp_path):
    out = tmp_path / "arm.yaml"
    flags = ["--parameters", "damping", "torque_speed", "--threads", "1"]
    assert main(["identify", "planar_arm", str(folder / "arm.npz"), "--out", str(out), *flags]) == 4
    assert "torque_speed.stall was asked for and is not identified" in capsys.readouterr().out
    result = json.loads(out.with_suffix(".json").read_text())
    found = {one["name"]: one for one in result["parameters"]}
    stall, damping = found["torque_speed.stall"], found[f"damping.{load_robot('planar_arm').joint_names[0]}"]
    assert (stall["identified"], stall["value"], stall["low"]) == (False, None, None)
    assert damping["identified"]
    assert damping["low"] < damping["value"] < damping["high"]


def test_the_delay_of_the_readings_alone_may_be_asked_for(folder, capsys, tmp_path):
    out = tmp_path / "arm.yaml"
    flags = ["--parameters", "observation_delay", "--threads", "1"]
    assert main(["identify", "planar_arm", str(folder / "arm.npz"), "--out", str(out), *flags]) == 0
    assert "observation_delay.delay" in capsys.readouterr().out
    # Readings of a simulated robot are on time, but for the rounding of their stamps: nothing to randomise.
    assert load_randomization(str(out), load_robot("planar_arm")).settings == {}


def test_mistakes_are_told_in_one_line(folder, failed, tmp_path):
    log = folder / "arm.npz"
    code, line = failed("identify", "go2", log)
    assert code == 2
    assert "not of 'go2'" in line
    code, line = failed("identify", "planar_arm", tmp_path / "none")
    assert code == 2
    assert "no bag, run or NPZ log" in line
    assert "robot-rl excite" in line
    code, line = failed("identify", "planar_arm", tmp_path)
    assert "without bags or NPZ logs" in line
    code, line = failed("identify", "planar_arm", log, "--out", "found.txt")
    assert "must end in .yaml" in line
    code, line = failed("identify", "planar_arm", log, "--parameters", "weight")
    assert "unknown parameter 'weight'" in line
    code, line = failed("excite", "planar_arm", "--out", tmp_path / "x.npz", "--base", "standing")
    assert code == 2
    assert "fixed base" in line
    code, line = failed("excite", "go2", "--out", tmp_path / "x.npz", "--on", "ros", "--randomize", "mild")
    assert code == 2
    with np.load(log) as content:
        arrays = dict(content)
    arrays["sent_command"] = np.zeros_like(arrays["sent_command"])
    np.savez(tmp_path / "still.npz", **arrays)
    code, line = failed("identify", "planar_arm", tmp_path / "still.npz")
    assert code == 4
    assert "too little motion" in line
    assert all(joint in line for joint in load_robot("planar_arm").joint_names)


def test_what_is_worse_by_less_than_a_log_is_trusted_passes():
    # A simulated robot that is as its file says: what differs is rounding, once better and once worse.
    own = Validation("own.npz", "joint_effort", "N m", before=3.6e-12, after=5.7e-5, noise=0.0, floor=7e-3)
    worse = replace(own, after=8e-3)
    passes, fails = (_failures(Identification("go2", (), (one,)), None) for one in (own, worse))
    assert passes == []
    assert len(fails) == 1
    assert "joint_effort of own.npz is simulated worse" in fails[0]
