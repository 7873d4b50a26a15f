"""Observation layouts and the observer that fills them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl.errors import ConfigurationError, MissingSensor, UnknownName
from robot_rl.observation import QUANTITIES, Observer, build_layout, quantity_of
from robot_rl.robot import ObjectState, RobotState
from robot_rl.spec import SENSORS

GOAL = ("angle a", "angle b")


def everything(robot_spec):
    """A made-up robot with all sensors, four feet and two objects."""
    sensors = {name: {} for name in SENSORS}
    return robot_spec("go2", {"objects": ["valve", "cube"], "sensors": sensors})


def random_state(spec, rng, shape=()):
    def reading(size):
        return rng.normal(size=(*shape, size))

    def quaternion():
        return Rotation.random(int(np.prod(shape, initial=1)), rng=rng).as_quat().reshape(*shape, 4)

    objects = {name: ObjectState(reading(3), quaternion(), reading(3), reading(3)) for name in spec.objects}
    return RobotState(
        stamp=0.0,
        joint_position=reading(spec.joints),
        joint_velocity=reading(spec.joints),
        joint_effort=reading(spec.joints),
        orientation_xyzw=quaternion(),
        angular_velocity=reading(3),
        linear_acceleration=reading(3),
        base_position=reading(3),
        base_linear_velocity=reading(3),
        contacts=np.abs(reading(len(spec.feet))),
        objects=objects,
    )


def observed(layout, observation, name, age=0):
    [entry] = [entry for entry in layout.entries if entry.name == name and entry.age == age]
    return observation[..., entry.start : entry.start + entry.size]


def test_entries_follow_each_other_current_first_then_history_newest_first(robot_spec):
    layout = build_layout(robot_spec("go2"), GOAL, ("goal", "contacts"), ("gravity", "joint_position"), 3)
    order = [(entry.name, entry.age) for entry in layout.entries]
    assert order == [("goal", 0), ("contacts", 0)] + [
        (n, age) for age in range(3) for n in ("gravity", "joint_position")
    ]
    assert [entry.start for entry in layout.entries] == np.cumsum([0] + [e.size for e in layout.entries])[:-1].tolist()
    assert layout.size == 2 + 4 + 3 * (3 + 12)


def test_every_quantity_has_a_label_an_offset_and_a_scale_for_each_of_its_numbers(robot_spec):
    spec = everything(robot_spec)
    layout = build_layout(spec, GOAL, tuple(QUANTITIES), (), 1)
    state = random_state(spec, np.random.default_rng(0))
    action, goal = np.zeros(spec.action.size), np.zeros(len(GOAL))
    assert len(layout.labels) == len(set(layout.labels)) == layout.offset.size == layout.scale.size == layout.size
    for entry in layout.entries:
        assert QUANTITIES[entry.name].read(state, action, goal).shape == (entry.size,), entry.name
    assert np.all(layout.scale > 0)


def test_labels_say_which_component_and_how_old(robot_spec):
    layout = build_layout(robot_spec("go2"), (), (), ("joint_velocity",), 2)
    assert layout.labels[0] == "joint_velocity[FL_hip_joint]"
    assert layout.labels[12] == "joint_velocity[FL_hip_joint]@-1"


def test_offsets_centre_joints_on_home_and_gravity_on_upright(robot_spec):
    spec = robot_spec("go2")
    layout = build_layout(spec, (), ("joint_position", "gravity"), (), 1)
    assert layout.offset == pytest.approx(np.concatenate([spec.home, [0, 0, -1]]))


def test_an_empty_goal_takes_no_room(robot_spec):
    layout = build_layout(robot_spec("go2"), (), ("goal",), ("gravity",), 2)
    assert [entry.name for entry in layout.entries] == ["gravity", "gravity"]
    observer = Observer(layout)
    state = random_state(robot_spec("go2"), np.random.default_rng(0))
    observer.reset(state, np.zeros(12), np.zeros(0))
    assert observer.observation() == pytest.approx(np.tile(state.gravity, 2), rel=1e-6)


@pytest.mark.parametrize("name", [name for name, quantity in QUANTITIES.items() if quantity.sensors])
def test_a_quantity_without_its_sensor_is_refused_by_name(name, robot_spec):
    bare = robot_spec("go2", {"sensors": {"joint_position": {}, "joint_velocity": {}}})
    needs = QUANTITIES[name].sensors
    if set(needs) <= set(bare.sensors):
        assert quantity_of(name, bare).sensors == needs
        return
    with pytest.raises(MissingSensor) as caught:
        build_layout(bare, (), (name,), (), 1)
    assert repr(name) in str(caught.value)
    assert repr(needs[0]) in str(caught.value)
    assert "'go2'" in str(caught.value)
    assert "its sensors: joint_position, joint_velocity" in str(caught.value)


def test_what_only_the_simulator_knows_is_not_observable(robot_spec):
    with pytest.raises(MissingSensor, match="base_linear_velocity"):
        build_layout(robot_spec("go2"), (), ("base_linear_velocity",), (), 1)


def test_an_unknown_quantity_lists_the_known_ones(robot_spec):
    with pytest.raises(UnknownName, match="'sonar'; allowed: joint_position"):
        build_layout(robot_spec("go2"), (), ("sonar",), (), 1)


def test_a_history_has_at_least_one_tick(robot_spec):
    with pytest.raises(ConfigurationError, match="at least 1 tick"):
        build_layout(robot_spec("go2"), (), (), ("gravity",), 0)


def test_quantities_are_the_readings_of_that_name(robot_spec):
    spec = everything(robot_spec)
    state = random_state(spec, np.random.default_rng(1))
    action, goal = np.linspace(-1, 1, 12), np.array([0.3, -0.2])
    layout = build_layout(spec, GOAL, tuple(QUANTITIES), (), 1)
    observer = Observer(layout)
    observer.reset(state, action, goal)
    readings = {
        name: getattr(state, name)
        for name in ("joint_position", "joint_velocity", "angular_velocity", "linear_acceleration", "contacts")
    }
    readings["base_linear_velocity"] = state.base_linear_velocity
    readings |= {"previous_action": action, "goal": goal}
    readings["object_position"] = np.concatenate([item.position for item in state.objects.values()])
    readings["object_orientation"] = np.concatenate([item.orientation_xyzw for item in state.objects.values()])
    readings["object_linear_velocity"] = np.concatenate([item.linear_velocity for item in state.objects.values()])
    readings["object_angular_velocity"] = np.concatenate([item.angular_velocity for item in state.objects.values()])
    for name, reading in readings.items():
        assert np.array_equal(observed(layout, observer.observation(), name), reading.astype(np.float32)), name


def test_gravity_and_roll_pitch_agree_with_scipy(robot_spec):
    spec = robot_spec("go2")
    angles = np.random.default_rng(2).uniform([-3, -1.5, -3], [3, 1.5, 3], (50, 3))
    attitude = Rotation.from_euler("ZYX", angles)
    state = RobotState(0.0, np.zeros((50, 12)), np.zeros((50, 12)), orientation_xyzw=attitude.as_quat())
    layout = build_layout(spec, (), ("gravity", "roll_pitch"), (), 1)
    observer = Observer(layout, (50,))
    observer.reset(state, np.zeros((50, 12)), np.zeros((50, 0)), np.arange(50))
    down = attitude.apply([0, 0, -1], inverse=True)
    assert observed(layout, observer.observation(), "gravity") == pytest.approx(down, abs=1e-6)
    assert observed(layout, observer.observation(), "roll_pitch") == pytest.approx(angles[:, [2, 1]], abs=1e-6)


def test_object_angles_are_given_as_cosine_and_sine_in_the_order_of_the_labels(robot_spec):
    spec = everything(robot_spec)
    turns = {"valve": 0.4, "cube": -2.5}
    zeros = np.zeros(3)
    objects = {
        name: ObjectState(zeros, Rotation.from_rotvec([0, 0, turn]).as_quat(), zeros, zeros)
        for name, turn in turns.items()
    }
    state = RobotState(0.0, np.zeros(12), np.zeros(12), objects=objects)
    layout = build_layout(spec, GOAL, ("object_angle", "angle_error"), (), 1)
    observer = Observer(layout)
    goal = np.array([1.0, 3.0])
    observer.reset(state, np.zeros(12), goal)
    named = dict(zip(layout.labels, observer.observation().tolist(), strict=True))
    for i, (name, turn) in enumerate(turns.items()):
        assert named[f"object_angle[{name}.cos]"] == pytest.approx(np.cos(turn), abs=1e-6)
        assert named[f"object_angle[{name}.sin]"] == pytest.approx(np.sin(turn), abs=1e-6)
        assert named[f"angle_error[{name}.cos_error]"] == pytest.approx(np.cos(goal[i] - turn), abs=1e-6)
        assert named[f"angle_error[{name}.sin_error]"] == pytest.approx(np.sin(goal[i] - turn), abs=1e-6)


def counting_state(spec, value, shape=()):
    return RobotState(0.0, np.full((*shape, spec.joints), float(value)), np.full((*shape, spec.joints), -float(value)))


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_history_is_newest_first_and_a_reset_fills_it_with_the_first_reading(length, shape, robot_spec):
    spec = robot_spec("go2")
    layout = build_layout(spec, GOAL, ("goal",), ("joint_position", "previous_action"), length)
    observer = Observer(layout, shape)
    rows = np.arange(shape[0]) if shape else ...
    goal = np.zeros((*shape, 2))
    observer.reset(counting_state(spec, 10, shape), np.zeros((*shape, 12)), goal, rows)
    for age in range(length):
        assert np.all(observed(layout, observer.observation(), "joint_position", age) == 10)
    for tick in range(1, 7):
        observer.advance(counting_state(spec, 10 + tick, shape), np.full((*shape, 12), 0.1 * tick), goal + tick)
        observation = observer.observation()
        assert np.all(observed(layout, observation, "goal") == tick)
        for age in range(length):
            assert np.all(observed(layout, observation, "joint_position", age) == 10 + max(0, tick - age))
            assert observed(layout, observation, "previous_action", age) == pytest.approx(0.1 * max(0, tick - age))


def test_resetting_some_rows_leaves_the_others(robot_spec):
    spec = robot_spec("go2")
    layout = build_layout(spec, (), (), ("joint_position",), 2)
    observer = Observer(layout, (4,))
    observer.reset(counting_state(spec, 1, (4,)), np.zeros((4, 12)), np.zeros((4, 0)), np.arange(4))
    observer.advance(counting_state(spec, 2, (4,)), np.zeros((4, 12)), np.zeros((4, 0)))
    observer.reset(counting_state(spec, 9, (2,)), np.zeros((2, 12)), np.zeros((2, 0)), np.array([3, 1]))
    now, before = (observed(layout, observer.observation(), "joint_position", age)[:, 0].tolist() for age in (0, 1))
    assert now == [2, 9, 2, 9]
    assert before == [1, 9, 1, 9]


def test_observations_are_float32_copies(robot_spec):
    spec = robot_spec("go2")
    observer = Observer(build_layout(spec, (), (), ("joint_position",), 2))
    observer.reset(counting_state(spec, 1), np.zeros(12), np.zeros(0))
    first = observer.observation()
    assert first.dtype == np.float32
    observer.advance(counting_state(spec, 2), np.zeros(12), np.zeros(0))
    assert np.all(first == 1)
    first[:] = 7
    assert not np.any(observer.observation() == 7)
    observer.restore(first)
    assert np.array_equal(observer.observation(), first)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_the_tip_of_a_planar_arm_is_linear_in_the_headings_of_its_links(robot_spec, shape):
    spec = robot_spec("planar_arm")
    joint_position = np.random.default_rng(0).uniform(spec.lower, spec.upper, (*shape, 3))
    state = RobotState(stamp=0.0, joint_position=joint_position, joint_velocity=np.zeros((*shape, 3)))
    headings = QUANTITIES["link_heading"].read(state, np.zeros(3), np.zeros(0))
    cosines, sines = headings[..., :3], headings[..., 3:]
    tip = np.stack([cosines @ [0.22, 0.20, 0.14], sines @ [0.22, 0.20, 0.14]], axis=-1)
    assert tip == pytest.approx(spec.legs.kinematics(joint_position).position[..., 0, :2])
    assert list(QUANTITIES["link_heading"].labels(spec, ())) == [
        f"{part}_joint{joint}" for part in ("cos", "sin") for joint in (1, 2, 3)
    ]
