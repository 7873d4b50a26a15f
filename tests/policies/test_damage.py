"""Files that were truncated, edited or made for something else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from policies.contract import CONTRACT_KEY, HASH_KEY, read_contract, seal, sha256, unseal
from policies.onnx_bytes import split_metadata, with_metadata
from policies.runtime import OnnxPolicy
from robot_rl.errors import ConfigurationError, PolicyError
from robot_rl.observation import build_layout
from robot_rl.spec_file import load_robot, parse_robot


def refusal(content, tmp_path, **fits):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        OnnxPolicy.load(path, **fits)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def content(policy_file):
    return policy_file.read_bytes()


def test_truncated_at_any_point_it_is_refused(content, tmp_path):
    points = {0, 1, 2, 10, len(content) // 2, len(content) - 1, *range(100, len(content), len(content) // 60)}
    for end in sorted(points):
        message = refusal(content[:end], tmp_path)
        assert "truncated" in message or "damaged" in message


def test_any_flipped_byte_is_refused(content, learner):
    rng = np.random.default_rng(0)
    positions = {*range(200), *range(len(content) - 200, len(content)), *rng.integers(0, len(content), 600)}
    model, _ = split_metadata(content)
    positions |= set(range(len(model) - 50, len(model) + 150))  # where the graph ends and the metadata begin
    for position in sorted(positions):
        for flip in (0xFF, 1 << int(rng.integers(8))):
            damaged = bytearray(content)
            damaged[position] ^= flip
            with pytest.raises(PolicyError):
                unseal(bytes(damaged))


def test_bytes_in_front_behind_or_between_are_refused(content, tmp_path):
    refusal(b"\x08" + content, tmp_path)
    refusal(content + b"\x00", tmp_path)
    refusal(content[:500] + b"\x00" + content[500:], tmp_path)
    refusal(content + content, tmp_path)


def test_more_metadata_from_another_tool_is_harmless(content):
    OnnxPolicy.from_bytes(with_metadata(content, {"note": "seen on a bench"}))


@pytest.mark.parametrize("content", [b"", b"not a policy at all", bytes(1000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_onnx_is_refused(content, tmp_path):
    refusal(content, tmp_path)


def test_a_file_without_a_contract_is_refused(content, tmp_path):
    model, metadata = split_metadata(content)
    assert "carries no contract" in refusal(model, tmp_path)
    assert "carries no contract" in refusal(with_metadata(model, {HASH_KEY: metadata[HASH_KEY]}), tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read policy .*gone.onnx: No such file"):
        OnnxPolicy.load(tmp_path / "gone.onnx")


def test_an_edited_contract_is_refused(content, tmp_path):
    model, metadata = split_metadata(content)
    metadata[CONTRACT_KEY] = metadata[CONTRACT_KEY].replace('"kp":40.0', '"kp":41.0')
    assert "the contract was edited" in refusal(with_metadata(model, metadata), tmp_path)


def test_another_contract_format_is_refused(content, tmp_path):
    model, metadata = split_metadata(content)
    text = json.dumps({**json.loads(metadata[CONTRACT_KEY]), "format": 7})
    message = refusal(with_metadata(model, {CONTRACT_KEY: text, HASH_KEY: sha256(text.encode())}), tmp_path)
    assert "format 7, this version of robot_rl reads 1" in message


def edited_weights(content, change):
    model, contract = unseal(content)
    parsed = onnx.load_from_string(model)
    for tensor in parsed.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        change(tensor.name, values)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return parsed.SerializeToString(deterministic=True), contract


def test_edited_weights_are_refused_by_their_hash(content, tmp_path):
    def nudge(name, values):
        if name == "mean_bias":
            values[3] += 1e-3

    model, _ = edited_weights(content, nudge)
    _, metadata = split_metadata(content)
    assert "the graph was edited" in refusal(with_metadata(model, metadata), tmp_path)


@pytest.mark.parametrize(
    "name", ["mean_bias", "raw_log_std_bias", "linear_0_weight", "offset", "scale", "home", "gain"]
)
def test_edited_weights_with_new_hashes_do_not_reproduce_the_golden_rows(content, tmp_path, name):
    def nudge(tensor, values):
        if tensor == name:
            values += np.float32(1e-2)

    message = refusal(seal(*edited_weights(content, nudge)), tmp_path)
    assert "does not reproduce its golden vectors" in message
    assert "allowed 1e-05" in message


def test_a_contract_whose_action_map_is_not_the_graphs_is_refused(content, tmp_path):
    model, contract = unseal(content)
    joints = list(contract.robot.joints)
    joints[4] = replace(joints[4], home=joints[4].home + 0.01)
    forged = seal(model, replace(contract, robot=replace(contract.robot, joints=tuple(joints))))
    assert "for 'FR_thigh_joint'" in refusal(forged, tmp_path)


def test_a_graph_of_another_shape_than_its_contract_is_refused(content, tmp_path, new_learner):
    from policies.export import build_model
    from robot_rl.tasks.stand import Stand

    task = Stand(load_robot("go2"))
    _, contract = unseal(content)
    message = refusal(seal(build_model(new_learner(task), task), contract), tmp_path)
    assert "the graph does not match its contract" in message


def test_a_graph_that_onnx_runtime_cannot_load_is_refused_in_one_line(content, tmp_path):
    model, contract = unseal(content)
    parsed = onnx.load_from_string(model)
    parsed.graph.node[0].op_type = "Suh"
    assert "cannot load the graph" in refusal(seal(parsed.SerializeToString(), contract), tmp_path)


# Other robots and layouts


def changed_go2(change):
    import yaml

    from robot_rl.spec_file import BUILTIN

    values = yaml.safe_load((BUILTIN / "go2.yaml").read_text())
    return parse_robot(change(values) or values, folder=BUILTIN)


def with_hip_renamed(values: dict[str, Any]) -> None:
    values["joints"]["FL_foot_joint"] = values["joints"].pop("FL_hip_joint")
    del values["legs"]  # which names the joint too


def set_in(*path, value):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


def test_the_same_robot_is_accepted(policy_file, go2, walk):
    OnnxPolicy.load(policy_file, robot=go2, layout=walk.layout)


@pytest.mark.parametrize(
    "change",
    [
        set_in("simulation", "physics_rate", value=400),
        set_in("description", value="another colour"),
        set_in("sensors", "joint_velocity", value={"noise": 0.1}),
        set_in("safety", "tilt_limit", value=0.5),
        set_in("name", value="my_go2"),
    ],
)
def test_a_robot_that_differs_only_where_the_policy_does_not_look_is_accepted(policy_file, go2, change):
    robot = changed_go2(change)
    assert robot.digest != go2.digest
    OnnxPolicy.load(policy_file, robot=robot)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            set_in("joints", "FL_calf_joint", "kp", value=35.0),
            "kp of 'FL_calf_joint' is 40.0 N m/rad in the policy, 35.0",
        ),
        (set_in("joints", "RR_hip_joint", "kd", value=2), "kd of 'RR_hip_joint' is 1.0 N m s/rad in the policy, 2.0"),
        (
            set_in("joints", "FR_hip_joint", "upper", value=1.0),
            "upper of 'FR_hip_joint' is 1.0472 rad in the policy, 1.0",
        ),
        (
            set_in("joints", "FR_hip_joint", "lower", value=-1),
            "lower of 'FR_hip_joint' is -1.0472 rad in the policy, -1.0",
        ),
        (
            set_in("joints", "FL_thigh_joint", "home", value=0.8),
            "home of 'FL_thigh_joint' is 0.9 rad in the policy, 0.8",
        ),
        (
            set_in("joints", "FL_hip_joint", "effort", value=20),
            "effort_limit of 'FL_hip_joint' is 23.7 N m in the policy",
        ),
        (set_in("joints", "FL_hip_joint", "velocity", value=20), "velocity_limit of 'FL_hip_joint' is 30.1 rad/s"),
        (set_in("control_rate", value=100), "control_rate is 50.0 Hz in the policy, 100"),
        (
            set_in("action", "scale", value=0.123),
            "action scale of 'FL_hip_joint' is .* in the policy, 0.123 on robot 'go2'",
        ),
        (
            with_hip_renamed,
            "joint 'FL_hip_joint' of the policy is not on the robot",
        ),
        (
            lambda v: v["joints"].update({"arm_joint": dict(v["joints"]["FL_hip_joint"])}),
            "joint 'arm_joint' of the robot is not in the policy",
        ),
        (
            lambda v: v["joints"].update({"FL_hip_joint": v["joints"].pop("FL_hip_joint")}),
            "joint order differs: joint 0 is 'FL_hip_joint' in the policy, 'FL_thigh_joint' on robot 'go2'",
        ),
        (lambda v: v["sensors"].pop("orientation") and None, "needs the sensor 'orientation'"),
    ],
)
def test_a_robot_that_differs_where_it_matters_is_refused_with_both_values(content, tmp_path, change, says):
    import re

    assert re.search(says, refusal(content, tmp_path, robot=changed_go2(change)))


def test_other_action_components_or_mixing_are_refused(content, tmp_path, go2):
    mixed = go2.action.mixing.copy()
    mixed[1, 0] = 0.5
    message = refusal(content, tmp_path, robot=replace(go2, action=replace(go2.action, mixing=mixed)))
    assert "action mixing of 'FL_hip_joint' into 'FL_thigh_joint' is 0.0 in the policy, 0.5" in message
    renamed = replace(go2.action, coordinates=("swing", *go2.action.coordinates[1:]))
    assert "action's components" in refusal(content, tmp_path, robot=replace(go2, action=renamed))


def test_another_robot_is_refused_by_name(content, tmp_path):
    message = refusal(content, tmp_path, robot=load_robot("minitaur"))
    assert "made for robot 'go2', not for 'minitaur'" in message


def test_other_observation_layouts_are_refused_with_the_first_difference(content, tmp_path, go2, walk):
    def layout(**changes):
        made = {"current": walk.current, "history": walk.history, "length": walk.history_length, **changes}
        return build_layout(go2, walk.goal_labels, made["current"], made["history"], made["length"])

    swapped = layout(history=("angular_velocity", "gravity", *walk.history[2:]))
    assert "entry 3 is gravity[x] for the policy, angular_velocity[x] here" in refusal(
        content, tmp_path, layout=swapped
    )
    message = refusal(content, tmp_path, layout=layout(length=1))
    assert "takes 87 numbers, here are 45" in message
    assert "gravity[x]@-1" in message
    entries = list(walk.layout.entries)
    entries[3] = replace(entries[3], unit="deg")
    degrees = replace(walk.layout, entries=tuple(entries))
    assert f"{entries[3].name} is in rad" in refusal(content, tmp_path, layout=degrees)


def test_other_typical_values_in_a_layout_are_accepted(policy_file, walk):
    entries = tuple(replace(entry, scale=(7.0,) * entry.size) for entry in walk.layout.entries)
    OnnxPolicy.load(policy_file, layout=replace(walk.layout, entries=entries))


def test_reading_the_contract_alone_checks_the_hashes_too(content, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(content[:3000] + b"x" + content[3001:])
    with pytest.raises(PolicyError, match="edited or damaged"):
        read_contract(path)
