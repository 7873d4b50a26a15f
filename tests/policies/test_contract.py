"""The contract: nothing rounded, nothing lost, nothing unread."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from policies.contract import Contract, read_contract, unseal
from policies.description import describe
from policies.export import export_policy
from robot_rl.errors import PolicyError
from robot_rl.spec_file import load_robot
from robot_rl.training.normalizer import Normalizer


@pytest.fixture(scope="module")
def contract(policy_file):
    return read_contract(policy_file)


def hexes(values):
    return [float(value).hex() for value in np.ravel(values)]


def test_it_comes_back_equal_from_json(contract):
    assert Contract.from_json(contract.to_json()) == contract


def test_every_number_of_the_robot_comes_back_bit_for_bit(go2, tmp_path, new_learner, stroll):
    rng = np.random.default_rng(0)
    awkward = {name: getattr(go2, name) + 1e-3 * rng.random(12) for name in ("home", "kp", "kd", "effort_limit")}
    scale = go2.action.scale * (1 + rng.random(12) / 3)
    spec = replace(go2, control_rate=100 / 3, action=replace(go2.action, scale=scale), **awkward)
    task = stroll(spec)
    export_policy(new_learner(task), task, tmp_path / "a.onnx", training={"final_return": 0.1 + 0.2})
    contract = read_contract(tmp_path / "a.onnx")
    for name in (*awkward, "lower", "upper", "velocity_limit"):
        assert hexes([getattr(joint, name) for joint in contract.robot.joints]) == hexes(getattr(spec, name))
    assert hexes(contract.action.scale) == hexes(scale)
    assert hexes(contract.action.mixing) == hexes(spec.action.mixing)
    assert contract.robot.control_rate.hex() == (100 / 3).hex()
    assert contract.training["final_return"].hex() == (0.1 + 0.2).hex()


def test_the_normaliser_and_golden_rows_come_back_as_the_same_float32(contract, learner):
    assert hexes(contract.normalizer.offset) == hexes(learner.normalizer.offset)
    assert hexes(contract.normalizer.scale) == hexes(learner.normalizer.scale)
    noise = np.array(contract.golden.noise, dtype=np.float32)
    np.testing.assert_array_equal(noise, np.random.default_rng(2).standard_normal(noise.shape).astype(np.float32))


def test_it_says_all_that_a_robot_must_know(contract, go2, walk, learner):
    assert contract.joint_names == go2.joint_names
    assert contract.robot.digest == go2.digest
    assert contract.observation == walk.layout
    assert contract.task.goal_labels == walk.goal_labels
    assert contract.algorithm == "sac"
    assert contract.settings["hidden_sizes"] == [32, 24]
    assert contract.network.sizes == (87, 32, 24, 12)
    assert contract.network.parameters == sum(p.numel() for p in learner.actor.parameters())
    assert {"torch", "onnx", "numpy", "python", "robot_rl"} <= set(contract.versions)
    assert contract.to_dict()["observation"]["labels"] == list(walk.layout.labels)
    assert len(contract.golden.observation) == 16


def test_a_policy_without_a_clip_has_null_in_its_json(walk, tmp_path, new_learner):
    learner = new_learner(walk)
    learner.normalizer = Normalizer.identity(walk.layout.size)
    export_policy(learner, walk, tmp_path / "a.onnx")
    contract = read_contract(tmp_path / "a.onnx")
    assert contract.normalizer.clip == float("inf")
    assert contract.to_dict()["normalizer"]["clip"] is None


def test_what_json_cannot_hold_becomes_null_or_text(walk, learner, tmp_path):
    training = {"final_return": float("nan"), "steps": np.int64(3), "curve": np.array([1.0, 2.0]), "path": tmp_path}
    export_policy(learner, walk, tmp_path / "a.onnx", training=training)
    read = read_contract(tmp_path / "a.onnx").training
    assert read == {"final_return": None, "steps": 3, "curve": [1.0, 2.0], "path": str(tmp_path)}


def test_another_format_is_refused_with_both_numbers(contract):
    with pytest.raises(PolicyError, match=r"has format 2, this version of robot_rl reads 1"):
        Contract.from_dict({**contract.to_dict(), "format": 2})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v.pop("format"), "no format version"),
        (lambda v: v.pop("robot"), "lacks 'robot'"),
        (lambda v: v["robot"].pop("joints"), "lacks 'robot.joints'"),
        (lambda v: v["robot"]["joints"][3].pop("kp"), "lacks 'robot.joints.kp'"),
        (lambda v: v["observation"].pop("entries"), "lacks 'observation.entries'"),
        (lambda v: v["observation"]["labels"].reverse(), "labels"),
        (lambda v: v["action"]["scale"].pop(), "action.scale is not 1 x 12"),
        (lambda v: v["normalizer"]["offset"].append(0.0), "normalizer.offset is not 1 x 87"),
        (lambda v: v["golden"]["command"][2].pop(), "golden.command is not 16 x 12"),
        (lambda v: v.update(golden={key: [] for key in v["golden"]}), "no golden vectors"),
        (lambda v: v.update(robot=3), "malformed"),
    ],
)
def test_a_missing_or_malformed_part_is_named(contract, change, says):
    values = json.loads(contract.to_json())
    change(values)
    with pytest.raises(PolicyError, match=says):
        Contract.from_dict(values)


def test_the_graph_hash_covers_every_byte_but_the_metadata(policy_file, contract):
    model, again = unseal(policy_file.read_bytes())
    assert again == contract
    assert len(model) < policy_file.stat().st_size


def test_the_page_for_people_names_what_matters_and_fits_a_terminal(contract, policy_file):
    page = describe(contract, policy_file.stat().st_size)
    for word in (
        "go2-walk",
        "50 Hz",
        "87-32-24-12",
        "forward m/s",
        "FL_hip_joint",
        "-2.7227",
        "joint_velocity",
        "12345",
    ):
        assert word in page
    assert contract.graph_sha256 in page
    assert max(len(line) for line in page.splitlines()) <= 80


def test_the_page_shows_how_mixed_components_move_the_joints(tmp_path, new_learner, stroll):
    task = stroll(load_robot("minitaur"))
    export_policy(new_learner(task), task, tmp_path / "a.onnx", goal_ranges={"forward m/s": (0.1, 0.5)})
    page = describe(read_contract(tmp_path / "a.onnx"))
    first = task.spec.action.coordinates[0]
    moved = [name for name, weight in zip(task.spec.joint_names, task.spec.action.mixing[:, 0], strict=True) if weight]
    assert len(moved) > 1
    assert any(line.split()[0] == first and all(name in line for name in moved) for line in page.splitlines() if line)
    assert "0.1   0.5" in page or "0.1  0.5" in page
