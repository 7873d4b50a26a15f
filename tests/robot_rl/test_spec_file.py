"""Robot files: what a spec says, and one line for every way to get a file wrong."""

import math

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.spec import SENSORS
from robot_rl.spec_file import builtin_robots, load_robot, parse_robot

ROBOTS = builtin_robots()


def refusal(action) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        action()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("name", ROBOTS)
def test_every_builtin_robot_is_a_complete_spec(name):
    spec = load_robot(name)
    assert spec.name == name
    assert spec.description
    columns = (spec.lower, spec.upper, spec.velocity_limit, spec.effort_limit, spec.home, spec.kp, spec.kd)
    assert {column.shape for column in columns} == {(spec.joints,)}
    assert np.all(spec.lower < spec.upper)
    assert np.all((spec.lower <= spec.home) & (spec.home <= spec.upper))
    assert set(spec.sensors) <= set(SENSORS)
    assert spec.action.mixing.shape == (spec.joints, spec.action.size)
    assert spec.action.scale.shape == (spec.action.size,)
    assert spec.substeps * spec.simulation.physics_dt == pytest.approx(spec.control_dt, rel=1e-12)


@pytest.mark.parametrize("name", ROBOTS)
def test_a_spec_keeps_the_files_order_of_joints_and_their_numbers(name, robot_values):
    joints = robot_values(name)["joints"]
    spec = load_robot(name)
    assert spec.joint_names == tuple(joints)
    for i, joint in enumerate(joints.values()):
        assert (spec.lower[i], spec.upper[i], spec.home[i]) == (joint["lower"], joint["upper"], joint["home"])
        assert (spec.velocity_limit[i], spec.effort_limit[i]) == (joint["velocity"], joint["effort"])
        assert (spec.kp[i], spec.kd[i]) == (joint["kp"], joint["kd"])


def test_arrays_of_a_spec_cannot_be_changed():
    spec = load_robot("go2")
    for array in (spec.home, spec.kp, spec.action.scale, spec.action.mixing, spec.safety.command_step_limit):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0


def test_the_digest_follows_the_content_and_not_the_layout_of_the_file(robot_values, write_robot, tmp_path):
    first = load_robot(write_robot(robot_values("go2")))
    other = tmp_path / "other.yaml"
    other.write_text("# a comment\n" + (tmp_path / "robot.yaml").read_text())
    assert load_robot(other).digest == first.digest
    assert load_robot(write_robot(robot_values("go2", {"joints.FL_hip_joint.kp": 41}))).digest != first.digest


def test_without_coordinates_every_joint_is_one(robot_spec):
    action = robot_spec("go2").action
    assert action.coordinates == robot_spec("go2").joint_names
    assert np.array_equal(action.mixing, np.eye(12))


def test_coordinates_mix_joints_by_name(robot_spec):
    coordinates = {"squat": {"FL_calf_joint": -2.0, "FL_thigh_joint": 1.0}, "sway": {"RR_hip_joint": 0.5}}
    spec = robot_spec("go2", {"action.coordinates": coordinates, "action.scale": {"sway": 0.1, "squat": 0.2}})
    assert spec.action.coordinates == ("squat", "sway")
    assert spec.action.scale.tolist() == [0.2, 0.1]
    expected = np.zeros((12, 2))
    expected[spec.joint_names.index("FL_calf_joint"), 0] = -2.0
    expected[spec.joint_names.index("FL_thigh_joint"), 0] = 1.0
    expected[spec.joint_names.index("RR_hip_joint"), 1] = 0.5
    assert np.array_equal(spec.action.mixing, expected)


def test_a_command_may_change_by_what_the_joint_can_travel_in_a_tick_by_default(robot_spec):
    spec = robot_spec("go2")
    assert np.allclose(spec.safety.command_step_limit, spec.velocity_limit / 50.0)
    assert np.all(robot_spec("go2", {"safety.command_step_limit": 0.1}).safety.command_step_limit == 0.1)


def test_floating_robots_stop_on_tilt_and_fixed_ones_have_none_by_default(robot_spec, removed):
    assert robot_spec("go2", {"safety": removed}).safety.tilt == "stop"
    assert robot_spec("dclaw", {"safety": removed}).safety.tilt == "off"


def test_the_models_path_is_relative_to_the_robots_file(robot_values, write_robot, tmp_path):
    path = write_robot(robot_values("go2", {"simulation.model": "models/mine.xml"}))
    assert load_robot(path).simulation.model == str((tmp_path / "models" / "mine.xml").resolve())
    menagerie = write_robot(robot_values("go2", {"simulation.model": "menagerie:unitree_go2"}))
    assert load_robot(menagerie).simulation.model == "menagerie:unitree_go2"


HIP = "joints.FL_hip_joint"
BAD_VALUES = [
    # (key, value, what the message says)
    ("joints", {}, ["at least one joint"]),
    ("joints", ["FL_hip_joint"], ["go2.yaml.joints", "mapping", "list"]),
    (HIP, 0.5, [f"go2.yaml.{HIP}", "mapping", "float 0.5"]),
    (f"{HIP}.kp", "stiff", [f"go2.yaml.{HIP}.kp", "finite number", "str 'stiff'"]),
    (f"{HIP}.kp", True, [f"go2.yaml.{HIP}.kp", "finite number", "bool True"]),
    (f"{HIP}.kp", math.nan, [f"go2.yaml.{HIP}.kp", "finite number", "nan"]),
    (f"{HIP}.upper", math.inf, [f"go2.yaml.{HIP}.upper", "finite number", "inf"]),
    (f"{HIP}.kp", 0, [f"go2.yaml.{HIP}.kp", "above 0", "got 0"]),
    (f"{HIP}.kd", -1, [f"go2.yaml.{HIP}.kd", "at least 0", "got -1"]),
    (f"{HIP}.velocity", 0, [f"go2.yaml.{HIP}.velocity", "above 0"]),
    (f"{HIP}.effort", -3, [f"go2.yaml.{HIP}.effort", "above 0", "-3"]),
    (f"{HIP}.lower", 1.5, [f"go2.yaml.{HIP}", "lower 1.5", "upper 1.0472", "wrong way round"]),
    (f"{HIP}.lower", 1.0472, [f"go2.yaml.{HIP}", "lower", "upper"]),
    (f"{HIP}.home", 1.2, [f"go2.yaml.{HIP}.home", "1.2", "-1.0472 to 1.0472"]),
    (f"{HIP}.stiffness", 40, [f"go2.yaml.{HIP}", "'stiffness'", "allowed:", "kp"]),
    ("speed", 1, ["go2.yaml", "'speed'", "allowed:", "control_rate"]),
    ("name", 7, ["go2.yaml.name", "text", "int 7"]),
    ("base", "flying", ["go2.yaml.base", "'flying'", "floating, fixed"]),
    ("control_rate", 0, ["go2.yaml.control_rate", "above 0"]),
    ("control_rate", "fast", ["go2.yaml.control_rate", "finite number", "'fast'"]),
    ("feet", "FL_foot", ["go2.yaml.feet", "list of names", "'FL_foot'"]),
    ("feet", [], ["go2.yaml.sensors", "'contacts'", "'feet'"]),
    ("sensors.sonar", {}, ["go2.yaml.sensors", "'sonar'", "allowed:", "joint_position"]),
    ("sensors.objects", {}, ["go2.yaml.sensors", "'objects'"]),
    ("sensors.joint_velocity", {"noise": -0.1}, ["go2.yaml.sensors.joint_velocity.noise", "at least 0", "-0.1"]),
    ("sensors.joint_velocity", {"sigma": 0.1}, ["go2.yaml.sensors.joint_velocity", "'sigma'", "allowed: noise"]),
    ("action.kind", "torque", ["go2.yaml.action.kind", "'torque'", "position"]),
    ("action.scale", 0, ["go2.yaml.action.scale", "above 0"]),
    ("action.scale", {"FL_hip_joint": 0.3}, ["go2.yaml.action.scale", "missing key 'FL_thigh_joint'"]),
    ("action.coordinates", {}, ["go2.yaml.action.coordinates", "at least one"]),
    ("action.coordinates", {"hop": {"FL_knee": 1}}, ["go2.yaml.action.coordinates.hop", "'FL_knee'", "FL_calf_joint"]),
    ("action.coordinates", {"hop": {"FL_calf_joint": "up"}}, ["go2.yaml.action.coordinates.hop.FL_calf_joint", "'up'"]),
    ("simulation.physics_rate", 210, ["go2.yaml.simulation.physics_rate", "210", "50", "nearest: 200 Hz"]),
    ("simulation.physics_rate", 20, ["go2.yaml.simulation.physics_rate", "20", "nearest: 50 Hz"]),
    ("simulation.cone", "round", ["go2.yaml.simulation.cone", "'round'", "pyramidal, elliptic"]),
    ("simulation.integrator", "rk4", ["go2.yaml.simulation.integrator", "'rk4'", "euler, implicitfast"]),
    ("simulation.actuator_delay", -0.01, ["go2.yaml.simulation.actuator_delay", "at least 0"]),
    ("simulation.model", 7, ["go2.yaml.simulation.model", "text", "7"]),
    ("simulation.truth", ["base_speed"], ["go2.yaml.simulation.truth", "'base_speed'", "base_linear_velocity"]),
    ("simulation.truth", "base_position", ["go2.yaml.simulation.truth", "list of names"]),
    ("simulation.truth", ["objects"], ["go2.yaml.simulation.truth", "'objects'"]),
    ("simulation.foot_geoms", {"FL_foot": "a"}, ["go2.yaml.simulation.foot_geoms", "missing key 'FR_foot'"]),
    ("simulation.gravity", 0, ["go2.yaml.simulation", "'gravity'", "allowed:", "physics_rate"]),
    ("safety.tilt", "clamp", ["go2.yaml.safety.tilt", "'clamp'", "off, warn, stop"]),
    ("safety.command_step_limit", 0, ["go2.yaml.safety.command_step_limit", "above 0"]),
    ("safety.speed", "stop", ["go2.yaml.safety", "'speed'", "allowed:", "joint_velocity"]),
    # In another unit these would be read as limits that nothing ever reaches.
    ("safety.tilt_limit", 60, ["go2.yaml.safety.tilt_limit", "at most 3.14159 rad", "got 60"]),
    ("safety.command_step_limit", 20, ["go2.yaml.safety.command_step_limit", "at most 5.0615 rad or m a tick", "20"]),
    ("safety.joint_effort_limit", 90, ["go2.yaml.safety.joint_effort_limit", "at most 2 times", "effort limit", "90"]),
    ("safety.temperature_limit", 353, ["go2.yaml.safety.temperature_limit", "at most 150 degrees Celsius", "353"]),
    ("safety.late_tick_limit", 20, ["go2.yaml.safety.late_tick_limit", "at most 1 s", "20"]),
    ("ros.state_timeout", 100, ["go2.yaml.ros.state_timeout", "at most 60 s", "100"]),
    ("ros.command_timeout", 100, ["go2.yaml.ros.command_timeout", "at most 60 s", "100"]),
]


@pytest.mark.parametrize(("key", "value", "said"), BAD_VALUES, ids=[f"{row[0]}={row[1]!r}"[:60] for row in BAD_VALUES])
def test_a_wrong_value_is_refused_in_one_line_that_says_where_what_and_what_is_allowed(key, value, said, robot_values):
    message = str(refusal(lambda: parse_robot(robot_values("go2", {key: value}), "go2.yaml")))
    for part in said:
        assert part in message, message


@pytest.mark.parametrize(
    ("robot", "changes", "said"),
    [
        ("dclaw", {"safety.tilt": "stop"}, ["dclaw.yaml.safety.tilt", "base is fixed"]),
        ("dclaw", {"safety.height": "warn"}, ["dclaw.yaml.safety.height", "base is fixed"]),
        ("dclaw", {"safety.workspace": "stop"}, ["dclaw.yaml.safety.workspace", "base is fixed"]),
        ("dclaw", {"safety.joint_effort": "stop"}, ["dclaw.yaml.safety.joint_effort", "sensors", "'joint_effort'"]),
        ("go2", {"safety.workspace": "stop"}, ["go2.yaml.safety.workspace", "'workspace_limit'"]),
        ("minitaur", {"safety": {"height": "stop"}}, ["minitaur.yaml.safety.height", "'height_limit'"]),
    ],
)  # fmt: skip
def test_a_check_that_nothing_could_fail_is_refused_rather_than_ignored(robot, changes, said, robot_values):
    message = str(refusal(lambda: parse_robot(robot_values(robot, changes), f"{robot}.yaml")))
    for part in said:
        assert part in message, message


def test_a_check_that_is_off_needs_nothing(robot_values):
    off = {f"safety.{check}": "off" for check in ("tilt", "height", "workspace", "joint_effort")}
    assert parse_robot(robot_values("dclaw", off)).safety.tilt == "off"


@pytest.mark.parametrize(
    "key",
    [
        "name", "base", "control_rate", "joints", "sensors", "action", "simulation", "action.kind", "action.scale",
        "simulation.model", "simulation.physics_rate", "sensors.joint_position", "sensors.joint_velocity",
        *(f"{HIP}.{key}" for key in ("lower", "upper", "velocity", "effort", "home", "kp", "kd")),
    ],
)  # fmt: skip
def test_a_missing_key_is_named_with_its_section(key, robot_values, removed):
    *sections, name = key.split(".")
    message = str(refusal(lambda: parse_robot(robot_values("go2", {key: removed}), "go2.yaml")))
    assert ".".join(["go2.yaml", *sections]) in message
    assert f"missing key {name!r}" in message


@pytest.mark.parametrize(
    "sensor", ["orientation", "angular_velocity", "linear_acceleration", "base_position", "base_linear_velocity"]
)
@pytest.mark.parametrize("place", ["sensors", "truth"])
def test_a_fixed_base_has_no_sensors_of_its_motion(sensor, place, robot_values):
    change = {f"sensors.{sensor}": {}} if place == "sensors" else {"simulation.truth": [sensor]}
    message = str(refusal(lambda: parse_robot(robot_values("dclaw", change), "dclaw.yaml")))
    assert repr(sensor) in message
    assert "floating base" in message
    assert f"dclaw.yaml.{'sensors' if place == 'sensors' else 'simulation.truth'}" in message


def test_noise_of_objects_is_refused_rather_than_ignored_because_it_has_no_single_unit(robot_values):
    values = robot_values("dclaw", {"sensors.objects": {"noise": 0.1}})
    message = str(refusal(lambda: parse_robot(values, "dclaw.yaml")))
    assert "dclaw.yaml.sensors.objects.noise" in message


def test_an_unknown_robot_lists_those_that_exist():
    error = refusal(lambda: load_robot("go3"))
    assert isinstance(error, UnknownName)
    assert "'go3'" in str(error)
    for name in ROBOTS:
        assert name in str(error)


def test_a_file_that_is_not_there_is_named(tmp_path):
    message = str(refusal(lambda: load_robot(tmp_path / "mine.yaml")))
    assert str(tmp_path / "mine.yaml") in message
    assert "No such file" in message


def test_a_folder_is_no_robot_file(tmp_path):
    assert str(tmp_path) in str(refusal(lambda: load_robot(tmp_path)))


@pytest.mark.parametrize("text", ["joints: {a: [1, 2}", "name: x\n  base: fixed", "a: b: c", "\tname: x"])
def test_a_syntax_error_in_the_file_names_the_file_and_the_line(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = str(refusal(lambda: load_robot(path)))
    assert str(path) in message
    assert "line" in message


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_a_file_that_is_no_mapping_is_refused(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert "mine.yaml: expected a mapping" in str(refusal(lambda: load_robot(path)))


@pytest.mark.parametrize("line", ["on: mujoco", "1: x", "extra: {1: x, a: y}", "[a]: x"])
def test_a_key_that_yaml_reads_as_no_text_is_refused_in_one_line(line, write_robot, robot_values):
    path = write_robot(robot_values("go2"))
    path.write_text(f"{path.read_text()}{line}\n")
    assert path.name in str(refusal(lambda: load_robot(path)))


def test_a_joint_named_by_a_number_is_asked_for_in_quotes(write_robot, robot_values):
    path = write_robot(robot_values("go2"))
    path.write_text(path.read_text().replace("FL_hip_joint:", "1:"))
    message = str(refusal(lambda: load_robot(path)))
    assert "robot.yaml.joints: expected text as keys, got int 1; put it in quotes" in message


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    assert str(path) in str(refusal(lambda: load_robot(path)))


def test_a_key_given_twice_is_refused_because_one_of_the_two_would_be_lost(robot_values, write_robot):
    path = write_robot(robot_values("go2"))
    path.write_text(path.read_text().replace("  FR_hip_joint:", "  FL_hip_joint:"))
    message = str(refusal(lambda: load_robot(path)))
    assert "FL_hip_joint" in message
    assert "twice" in message
    assert str(path) in message
