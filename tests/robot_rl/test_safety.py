"""The supervisor: what it clamps, counts and stops."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl.errors import ConfigurationError, UnknownName
from robot_rl.robot import RobotState
from robot_rl.safety import SafetySupervisor, StopLatch


def supervisor_of(robot_spec, **safety):
    spec = robot_spec("go2", {f"safety.{key}": value for key, value in safety.items()})
    return spec, SafetySupervisor(spec)


def state_of(spec, *, velocity=None, attitude=None, height=0.3, shape=()):
    quaternion = (attitude or Rotation.identity()).as_quat()
    return RobotState(
        stamp=0.0,
        joint_position=np.broadcast_to(spec.home, (*shape, spec.joints)),
        joint_velocity=np.zeros((*shape, spec.joints)) if velocity is None else velocity,
        orientation_xyzw=np.broadcast_to(quaternion, (*shape, 4)),
        base_position=np.broadcast_to([0.0, 0.0, height], (*shape, 3)),
    )


def test_a_command_inside_all_limits_passes_unchanged_and_uncounted(robot_spec):
    spec, supervisor = supervisor_of(robot_spec)
    wanted = spec.home + 0.9 * spec.safety.command_step_limit
    applied, failed = supervisor.limit(wanted, spec.home)
    assert np.array_equal(applied, wanted)
    assert failed == {}


def test_a_command_beyond_a_joint_limit_is_clamped_to_it_and_counted(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, command_step="off")
    wanted = spec.home.copy()
    wanted[0], wanted[5] = 5.0, -9.0
    applied, failed = supervisor.limit(wanted, spec.home)
    expected = spec.home.copy()
    expected[0], expected[5] = spec.upper[0], spec.lower[5]
    assert np.array_equal(applied, expected)
    assert set(failed) == {"joint_position"}


def test_a_command_that_jumps_moves_by_the_step_limit_and_is_counted(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, command_step_limit=0.05)
    wanted = spec.home + 0.2
    applied, failed = supervisor.limit(wanted, spec.home)
    assert applied == pytest.approx(spec.home + 0.05)
    assert set(failed) == {"command_step"}


def test_clamped_commands_keep_every_limit_wherever_they_were_aimed(robot_spec):
    spec, supervisor = supervisor_of(robot_spec)
    rng = np.random.default_rng(0)
    previous = rng.uniform(spec.lower, spec.upper, (500, 12))
    wanted = rng.uniform(spec.lower - 3, spec.upper + 3, (500, 12))
    applied, failed = supervisor.limit(wanted, previous)
    assert np.all((applied >= spec.lower) & (applied <= spec.upper))
    assert np.all(np.abs(applied - previous) <= spec.safety.command_step_limit + 1e-12)
    outside = ((wanted < spec.lower) | (wanted > spec.upper)).any(-1)
    assert np.array_equal(failed["joint_position"], outside)
    assert np.array_equal(np.any(applied != wanted, -1), failed["joint_position"] | failed["command_step"])


@pytest.mark.parametrize("check", ["joint_position", "command_step"])
@pytest.mark.parametrize(
    ("response", "counted", "clamped", "stopped"),
    [
        ("off", False, False, False),
        ("warn", True, False, False),
        ("clamp", True, True, False),
        ("stop", True, True, True),
    ],
)
def test_each_response_to_a_command_does_what_its_name_says(check, response, counted, clamped, stopped, robot_spec):
    other = {"joint_position": "command_step", "command_step": "joint_position"}[check]
    spec, supervisor = supervisor_of(robot_spec, **{check: response, other: "off"})
    wanted = np.array(spec.home)
    wanted[0] += 3.0  # beyond the joint limit and the step limit
    applied, failed = supervisor.limit(wanted, spec.home)
    assert (check in failed) == counted
    assert np.array_equal(applied, wanted) != clamped
    assert bool(supervisor.watch(state_of(spec), failed).stop) == stopped


def test_steps_are_judged_by_what_would_be_sent_where_joint_limits_are_off(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, joint_position="off", command_step_limit=0.2)
    applied, failed = supervisor.limit(spec.upper + 4.0, spec.upper)
    assert applied == pytest.approx(spec.upper + 0.2)
    assert set(failed) == {"command_step"}


def test_failures_are_reported_for_the_rows_that_failed(robot_spec):
    spec, supervisor = supervisor_of(robot_spec)
    wanted = np.tile(spec.home, (3, 1))
    wanted[1] += 5.0
    _, failed = supervisor.limit(wanted, np.tile(spec.home, (3, 1)))
    assert {name: rows.tolist() for name, rows in failed.items()} == {
        "joint_position": [False, True, False],
        "command_step": [False, True, False],
    }


def test_one_robot_gets_what_it_would_get_in_a_batch(robot_spec):
    spec, supervisor = supervisor_of(robot_spec)
    rng = np.random.default_rng(1)
    previous = rng.uniform(spec.lower, spec.upper, (50, 12))
    wanted = previous + rng.uniform(-1, 1, (50, 12)) * spec.safety.command_step_limit * rng.uniform(0.5, 1.5, (50, 1))
    batch, failed = supervisor.limit(wanted, previous)
    for i in range(50):
        single, failed_one = supervisor.limit(wanted[i], previous[i])
        assert np.array_equal(single, batch[i])
        assert set(failed_one) == {name for name, rows in failed.items() if rows[i]}


def test_arguments_are_left_as_they_were(robot_spec):
    spec, supervisor = supervisor_of(robot_spec)
    for wanted in (spec.home + 0.1, spec.home + 5.0):
        given, previous = wanted.copy(), spec.home.copy()
        supervisor.limit(given, previous)
        assert np.array_equal(given, wanted)
        assert np.array_equal(previous, spec.home)


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0.6, -0.8, 0]])
@pytest.mark.parametrize("heading", [0.0, 2.0])
def test_tilt_stops_just_beyond_its_limit_whatever_the_heading(axis, heading, robot_spec):
    spec, supervisor = supervisor_of(robot_spec, tilt="stop", tilt_limit=0.7)
    for angle, stops in ((0.69, False), (0.71, True), (3.1, True)):
        attitude = Rotation.from_rotvec([0, 0, heading]) * Rotation.from_rotvec(angle * np.array(axis))
        verdict = supervisor.watch(state_of(spec, attitude=attitude), {})
        assert bool(verdict.stop) == stops
        assert ("tilt" in verdict.counts) == stops


def test_a_base_below_its_lowest_height_stops(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, height="stop", height_limit=0.2)
    assert not supervisor.watch(state_of(spec, height=0.21), {}).stop
    assert supervisor.watch(state_of(spec, height=0.19), {}).stop


@pytest.mark.parametrize(
    ("response", "counted", "stopped"), [("off", False, False), ("warn", True, False), ("stop", True, True)]
)
def test_a_joint_beyond_its_velocity_limit_is_counted_or_stops(response, counted, stopped, robot_spec):
    spec, supervisor = supervisor_of(robot_spec, joint_velocity=response)
    for sign in (-1, 1):
        velocity = np.zeros(12)
        velocity[7] = sign * 1.01 * spec.velocity_limit[7]
        verdict = supervisor.watch(state_of(spec, velocity=velocity), {})
        assert ("joint_velocity" in verdict.counts) == counted
        assert bool(verdict.stop) == stopped


def test_all_joints_just_below_their_velocity_limits_are_fine(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, joint_velocity="stop")
    verdict = supervisor.watch(state_of(spec, velocity=0.99 * spec.velocity_limit), {})
    assert not verdict.stop
    assert verdict.counts == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_reading_that_is_not_finite_never_counts_as_safe(bad, robot_spec):
    spec, supervisor = supervisor_of(robot_spec, joint_velocity="stop", tilt="stop", height="stop")
    velocity = np.zeros(12)
    velocity[3] = bad
    assert supervisor.watch(state_of(spec, velocity=velocity), {}).stop
    assert supervisor.watch(state_of(spec, height=np.nan), {}).stop
    tilted = state_of(spec)
    broken = RobotState(0.0, tilted.joint_position, tilted.joint_velocity, orientation_xyzw=np.full(4, np.nan))
    assert supervisor.watch(broken, {}).stop


def test_each_row_of_a_batch_is_watched_for_itself(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, tilt="stop", height="stop", height_limit=0.2, joint_velocity="stop")
    velocity = np.zeros((4, 12))
    velocity[1, 0] = 100.0
    upright = np.tile([0.0, 0.0, 0.0, 1.0], (4, 1))
    upright[2] = Rotation.from_rotvec([2.0, 0, 0]).as_quat()
    position = np.tile([0.0, 0.0, 0.3], (4, 1))
    position[3, 2] = 0.1
    state = RobotState(0.0, np.tile(spec.home, (4, 1)), velocity, orientation_xyzw=upright, base_position=position)
    verdict = supervisor.watch(state, {})
    assert verdict.stop.tolist() == [False, True, True, True]
    assert {name: np.flatnonzero(rows).tolist() for name, rows in verdict.counts.items()} == {
        "joint_velocity": [1], "tilt": [2], "height": [3]
    }  # fmt: skip
    assert supervisor.watch(state_of(spec, shape=(4,)), {}).stop.tolist() == [False] * 4


def test_effort_beyond_its_share_of_the_limit_is_counted_or_stops(robot_spec):
    spec, supervisor = supervisor_of(robot_spec, joint_effort="stop", joint_effort_limit=0.9)
    effort = 0.89 * spec.effort_limit
    state = state_of(spec)
    assert not supervisor.watch(dataclasses.replace(state, joint_effort=effort), {}).stop
    effort[4] = -0.91 * spec.effort_limit[4]
    verdict = supervisor.watch(dataclasses.replace(state, joint_effort=effort), {})
    assert verdict.stop
    assert set(verdict.counts) == {"joint_effort"}


def test_base_outside_its_workspace_stops(robot_spec):
    box = {"lower": [-1.0, -1.0, 0.0], "upper": [1.0, 2.0, 0.5]}
    spec, supervisor = supervisor_of(robot_spec, workspace="stop", workspace_limit=box)
    places = (([0.9, 1.9, 0.3], True), ([1.1, 0, 0.3], False), ([0, -1.1, 0.3], False), ([0, 0, 0.6], False))
    for place, inside in places:
        state = dataclasses.replace(state_of(spec), base_position=np.array(place, dtype=float))
        assert bool(supervisor.watch(state, {}).stop) != inside


def test_rest_pose_is_home_where_the_file_does_not_say(robot_spec):
    spec = robot_spec("go2", {"safety.rest": {"FL_calf_joint": -2.5}})
    expected = spec.home.copy()
    expected[2] = -2.5
    assert spec.safety.rest == pytest.approx(expected)
    with pytest.raises(ConfigurationError, match=r"safety\.rest\.FL_calf_joint: 1 lies outside the limits"):
        robot_spec("go2", {"safety.rest": {"FL_calf_joint": 1.0}})
    with pytest.raises(UnknownName, match=r"unknown joint 'FL_calf' in .*safety\.rest"):
        robot_spec("go2", {"safety.rest": {"FL_calf": -2.5}})


def test_latch_keeps_its_first_reason_until_it_is_cleared():
    latch = StopLatch()
    assert latch.set("first")
    assert not latch.set("second")
    assert latch.clear() == "first"
    assert latch.reason == ""
