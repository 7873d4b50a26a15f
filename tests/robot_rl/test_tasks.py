"""Each task's own meaning. Weights are a matter of training and not tested; what a term rewards is."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robot_rl.errors import ConfigurationError, MissingSensor
from robot_rl.robot import ObjectState, RobotState
from robot_rl.spec_file import load_robot
from robot_rl.task import Step
from robot_rl.tasks import rewards
from robot_rl.tasks.push import Push, PushSettings
from robot_rl.tasks.rotate_cube import RotateCube
from robot_rl.tasks.stand import Stand
from robot_rl.tasks.turn_valve import TurnValve, TurnValveSettings
from robot_rl.tasks.walk import Walk, WalkSettings
from sim.mujoco_robot import MujocoRobot

GO2, DCLAW, LEAP, ARM = map(load_robot, ("go2", "dclaw", "leap_hand", "planar_arm"))


def state_of(spec, *, attitude=None, **readings):
    """A robot at home, level and at rest, but for what is given."""
    rest = {
        "stamp": 0.0,
        "joint_position": spec.home,
        "joint_velocity": np.zeros(spec.joints),
        "joint_effort": np.zeros(spec.joints),
        "applied": spec.home,
    }
    if spec.base == "floating":
        rest["orientation_xyzw"] = (attitude or Rotation.identity()).as_quat()
        rest["angular_velocity"] = rest["base_linear_velocity"] = np.zeros(3)
        rest["base_position"] = np.array([0.0, 0.0, spec.simulation.base_height])
        rest["contacts"] = np.full(len(spec.feet), 40.0)
    return RobotState(**(rest | readings))


def object_state(turn=0.0, *, tilt=0.0, height=0.3, velocity=(0.0, 0.0, 0.0)):
    attitude = Rotation.from_euler("ZYX", [turn, tilt, 0.0]).as_quat()
    return ObjectState(np.array([0.0, 0.0, height]), attitude, np.array(velocity), np.zeros(3))


def step_to(after, *, before=None, goal=(), action=None, previous_action=None):
    zeros = np.zeros(12)
    action, previous = (zeros if a is None else np.asarray(a) for a in (action, previous_action))
    return Step(before or after, action, previous, after, np.asarray(goal, dtype=float))


def term(task, name, step):
    return float(task.terms[name].weight * task.terms[name].value(step))


# -- shared pieces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, 2.5])
@pytest.mark.parametrize("heading", [0.0, -2.0])
def test_tilt_is_the_squared_sine_of_the_angle_from_upright(angle, heading):
    attitude = Rotation.from_rotvec([0, 0, heading]) * Rotation.from_rotvec([0.6 * angle, 0.8 * angle, 0])
    assert rewards.tilt(step_to(state_of(GO2, attitude=attitude))) == pytest.approx(np.sin(angle) ** 2)


def test_effort_and_action_change_are_sums_of_squares():
    torque, action, previous = np.arange(12.0), np.linspace(-1, 1, 12), np.linspace(0, 0.5, 12)
    step = step_to(state_of(GO2, joint_effort=torque), action=action, previous_action=previous)
    assert rewards.effort(step) == pytest.approx(506.0)  # 1 + 4 + ... + 121
    assert rewards.action_change(step) == pytest.approx(
        sum((a - b) ** 2 for a, b in zip(action, previous, strict=True))
    )


# -- walk --------------------------------------------------------------------------------------------------------------

WALK = Walk(GO2, WalkSettings(forward=(0.2, 0.8), lateral=(-0.3, 0.3), turn=(-1.0, 1.0), cadence=(1.5, 2.5)))
COMMAND = {"forward m/s": 0.6, "left m/s": 0.1, "turn rad/s": 0.4, "cadence Hz": 2.0}
GOAL = np.array([COMMAND[label] for label in WALK.goal_labels])


def walking(velocity=(0.6, 0.1, 0.0), turn=0.4, **readings):
    state = state_of(
        GO2, base_linear_velocity=np.array(velocity), angular_velocity=np.array([0.0, 0.0, turn]), **readings
    )
    return step_to(state, goal=GOAL)


def test_walking_is_worth_most_at_the_commanded_velocity_and_less_the_further_away():
    best = term(WALK, "velocity", walking())
    assert best == pytest.approx(WALK.terms["velocity"].weight)
    for direction in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]):
        values = [
            term(WALK, "velocity", walking(np.array([0.6, 0.1, 0.0]) + d * np.array(direction)))
            for d in (0.05, 0.2, 0.6)
        ]
        assert best > values[0] > values[1] > values[2] >= 0


@pytest.mark.parametrize("command", [(0.6, 0.0), (0.3, -0.5), (1.5, 0.0), (-0.8, 0.9)])
def test_every_bit_of_the_commanded_velocity_is_worth_as_much_and_standing_still_nothing_at_most_speeds(command):
    shares = np.linspace(0.0, 1.0, 11)
    velocity = np.array([[*(share * np.array(command)), 0.0] for share in shares])
    goal = np.broadcast_to([*command, 0.0, 2.0], (11, 4))
    worth = 2.0 * WALK.terms["velocity"].value(step_to(state_of(GO2, base_linear_velocity=velocity), goal=goal))
    np.testing.assert_allclose(np.diff(worth), np.diff(worth)[0])
    speed = max(np.hypot(*command), 0.6)
    assert worth[0] == pytest.approx(2.0 * (1.0 - np.hypot(*command) / speed))
    assert worth[-1] == pytest.approx(2.0)


def test_walking_rewards_the_commanded_turn():
    best = term(WALK, "turn", walking())
    assert best == pytest.approx(WALK.terms["turn"].weight)
    assert best > term(WALK, "turn", walking(turn=0.6)) > term(WALK, "turn", walking(turn=-0.4)) >= 0


def test_walking_costs_tilt_bounce_and_rough_actions():
    level, calm = walking(), walking()
    tilted = walking(attitude=Rotation.from_rotvec([0.3, 0, 0]))
    assert term(WALK, "level", level) == 0 > term(WALK, "level", tilted)
    assert term(WALK, "bounce", calm) == 0 > term(WALK, "bounce", walking((0.6, 0.1, 0.5)))
    rough = walking()._replace(action=np.full(12, 0.5))
    assert term(WALK, "smoothness", calm) == 0 > term(WALK, "smoothness", rough)


def test_walking_ends_only_by_the_supervisor():
    assert not WALK.terminated(state_of(GO2, attitude=Rotation.from_rotvec([3, 0, 0])), GOAL)


def test_walking_starts_near_home_facing_anywhere():
    rng = np.random.default_rng(0)
    starts = [WALK.sample_start(rng) for _ in range(300)]
    displaced = np.array([start.joint_position for start in starts]) - GO2.home
    assert np.abs(displaced).max() <= WALK.settings.start_noise
    assert np.ptp([start.base_yaw for start in starts]) > 6.0


def test_walking_is_judged_by_its_mean_speed_after_the_first_second():
    speed = np.concatenate([np.zeros(50), np.full(100, 0.5), np.full(100, 0.6)])
    steps = {"forward_velocity": speed, "lateral_velocity": 0 * speed}
    steps |= {"commanded_forward": 0 * speed + 0.6, "commanded_lateral": 0 * speed}
    figures = WALK.summarise(steps)
    assert figures["forward_velocity"] == pytest.approx(0.55)
    assert figures["speed_error"] == pytest.approx(0.05 / 0.6)
    assert WALK.success(steps) is True
    assert WALK.success(steps | {"forward_velocity": 0.75 * speed}) is False
    assert WALK.success(steps | {"lateral_velocity": 0 * speed + 0.2}) is False


def test_the_mean_of_two_walking_skills_is_to_walk_at_both_velocities():
    goal = {"forward": (0.4, 0.4), "lateral": (0.3, 0.3)}
    skills = [Walk(GO2, WalkSettings(pursue=pursue, **goal)) for pursue in ("forward", "left")]
    both = Walk(GO2, WalkSettings(pursue="mean", **goal))
    v_x, v_y = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.1, 0.6, 71), np.linspace(-0.1, 0.6, 71)))
    velocity = np.stack([v_x, v_y, 0 * v_x], axis=-1)
    step = step_to(state_of(GO2, base_linear_velocity=velocity), goal=np.array([0.4, 0.3, 0.0, 2.0]))

    def tracking(task):
        return sum(np.asarray(task.terms[part].weight * task.terms[part].value(step)) for part in ("forward", "left"))

    forward, left = map(tracking, skills)
    for w in (0.25, 0.5, 0.75):
        best = np.argmax(w * forward + (1.0 - w) * left)
        np.testing.assert_allclose(velocity[best, :2], [0.4, 0.3], atol=0.0051)
    np.testing.assert_allclose(tracking(both), (forward + left) / 2)
    # A skill alone leaves the other part of the velocity free.
    np.testing.assert_allclose(np.ptp(forward.reshape(71, 71), axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.ptp(left.reshape(71, 71), axis=1), 0.0, atol=1e-12)


def test_a_walking_skill_is_judged_by_the_part_it_pursues():
    task = Walk(GO2, WalkSettings(pursue="left", forward=(0.4, 0.4), lateral=(0.3, 0.3)))
    goal = np.array([0.4, 0.3, 0.0, 2.0])
    for velocity, achieved in (([0.01, 0.29, 0.0], True), ([0.4, 0.29, 0.0], True), ([0.01, 0.2, 0.0], False)):
        measured = task.measure(state_of(GO2, base_linear_velocity=np.array([velocity] * 60)), goal)
        assert task.success(measured) is achieved
    both = Walk(GO2, WalkSettings(pursue="mean", forward=(0.4, 0.4), lateral=(0.3, 0.3)))
    measured = both.measure(state_of(GO2, base_linear_velocity=np.array([[0.39, 0.29, 0.0]] * 60)), goal)
    assert both.success(measured) is True
    assert both.success(measured | {"forward_velocity": np.full(60, 0.0)}) is False


def test_an_unknown_part_of_the_walk_is_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"pursue.*command, forward, left, mean"):
        WalkSettings(pursue="backward")


# -- stand -------------------------------------------------------------------------------------------------------------


def test_standing_at_home_level_at_rest_earns_one_and_nothing_earns_more():
    task = Stand(GO2)
    assert task.reward(step_to(state_of(GO2)))[0] == pytest.approx(1.0)
    for worse in (
        step_to(state_of(GO2, joint_position=GO2.home + 0.2)),
        step_to(state_of(GO2, attitude=Rotation.from_rotvec([0.2, 0, 0]))),
        step_to(state_of(GO2, joint_effort=np.full(12, 5.0))),
        step_to(state_of(GO2), action=np.full(12, 0.3)),
    ):
        assert task.reward(worse)[0] < 1.0


def test_standing_is_measured_in_radians():
    attitude = Rotation.from_rotvec([0, 0, 1.0]) * Rotation.from_rotvec([0.25, 0, 0])
    position = GO2.home.copy()
    position[4] -= 0.3
    measures = Stand(GO2).measure(state_of(GO2, attitude=attitude, joint_position=position), np.zeros(0))
    assert measures["tilt_rad"] == pytest.approx(0.25)
    assert measures["pose_error_rad"] == pytest.approx(0.3)


# -- turn valve --------------------------------------------------------------------------------------------------------

VALVE = TurnValve(DCLAW)


def valve_at(turn, goal, **readings):
    return step_to(state_of(DCLAW, objects={"valve": object_state(turn)}, **readings), goal=[goal])


@pytest.mark.parametrize("goal", [-3.0, -1.0, 0.0, 3.1])
@pytest.mark.parametrize("turn", [-3.1, -0.5, 2.0, 9.0])
def test_the_valves_error_is_the_shorter_way_round(turn, goal):
    expected = np.angle(np.exp(1j * (goal - turn)))
    step = valve_at(turn, goal)
    assert VALVE.error(step.after, step.goal) == pytest.approx(expected, abs=1e-12)
    assert term(VALVE, "error", step) == pytest.approx(VALVE.terms["error"].weight * abs(expected))
    assert VALVE.measure(step.after, step.goal)["angle_error_rad"] == pytest.approx(abs(expected))


def test_being_closer_to_the_valves_goal_is_always_worth_more():
    values = [float(VALVE.reward(valve_at(0.5, 0.5 + error))[0]) for error in (0.0, 0.09, 0.11, 0.24, 0.26, 1.0, 3.1)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == len(values)


def test_turning_a_valve_costs_speed_and_leaving_home():
    calm = float(VALVE.reward(valve_at(0.0, 1.0))[0])
    assert float(VALVE.reward(valve_at(0.0, 1.0, joint_velocity=np.full(9, 3.0)))[0]) < calm
    assert float(VALVE.reward(valve_at(0.0, 1.0, joint_position=DCLAW.home + 0.3))[0]) < calm


def test_a_valve_episode_succeeds_by_where_it_ends():
    steps = {"angle_error_rad": np.array([2.0, 0.1, 0.2]), "effort_share": np.array([0.3, 0.0, 0.4])}
    assert VALVE.success(steps) is True
    assert VALVE.success({"angle_error_rad": np.array([2.0, 0.1, 0.3])}) is False
    figures = VALVE.summarise(steps)
    assert figures["final_angle_error_rad"] == 0.2
    assert figures["smallest_angle_error_rad"] == 0.1
    assert figures["effort_share"] == pytest.approx(0.5 / 3**0.5)


def random_valve_steps(rows=200):
    rng = np.random.default_rng(5)
    shape = (rows, DCLAW.joints)
    readings = {
        "joint_position": DCLAW.home + 0.4 * rng.standard_normal(shape),
        "joint_velocity": rng.normal(0.0, 2.0, shape),
        "applied": DCLAW.home + 0.4 * rng.standard_normal(shape),
    }
    for row in range(rows):
        one = {name: values[row] for name, values in readings.items()}
        yield valve_at(rng.uniform(-4.0, 4.0), rng.uniform(-3.0, 3.0), **one)


def test_turning_with_little_effort_earns_the_mean_of_turning_and_of_little_effort_in_every_state():
    turn, calm, both = (TurnValve(DCLAW, TurnValveSettings(aim)) for aim in ("turn", "calm", "both"))
    seen = set()
    for step in random_valve_steps():
        alone = float(turn.reward(step)[0]), float(calm.reward(step)[0])
        assert float(both.reward(step)[0]) == pytest.approx(np.mean(alone), rel=1e-12, abs=1e-12)
        seen.add(alone)
    assert len(seen) == 200
    for task in (turn, calm):
        assert task.layout.labels == both.layout.labels
        assert task.goal_labels == both.goal_labels
    # The same terms, so that each can be paid for what another one did.
    assert turn.terms.keys() == calm.terms.keys() == both.terms.keys()
    assert VALVE.settings.aim == "turn"


def test_effort_is_what_the_joint_controllers_ask_for_as_a_share_of_their_limits():
    calm = TurnValve(DCLAW, TurnValveSettings("calm"))
    lag = calm.gentle * DCLAW.effort_limit / DCLAW.kp
    gentle = valve_at(0.0, 1.0, applied=DCLAW.home + lag)
    assert calm.measure(gentle.after, gentle.goal)["effort_share"] == pytest.approx(0.1)
    assert float(calm.reward(gentle)[0]) == pytest.approx(-2.0)
    braking = valve_at(0.0, 1.0, joint_velocity=-calm.gentle * DCLAW.effort_limit / DCLAW.kd)
    assert float(calm.reward(braking)[0]) == pytest.approx(-2.0)
    assert float(calm.reward(valve_at(0.0, 1.0))[0]) == 0.0
    # No controller asks for more than its limit.
    assert calm.effort(valve_at(0.0, 1.0, applied=DCLAW.home + 100.0).after) == pytest.approx(1.0)
    assert calm.success({"angle_error_rad": np.array([0.0])}) is None


def test_a_valve_task_of_another_aim_is_refused():
    with pytest.raises(ConfigurationError, match="task turn_valve: aim must be one of turn, calm, both, got lift"):
        TurnValveSettings("lift")


def test_the_valve_starts_anywhere():
    rng = np.random.default_rng(0)
    turns = [VALVE.sample_start(rng).object_yaw["valve"] for _ in range(300)]
    assert min(turns) < -3.0
    assert max(turns) > 3.0


# -- rotate cube -------------------------------------------------------------------------------------------------------

CUBE = RotateCube(LEAP)


def cube_from_to(start, end, **parts):
    states = [state_of(LEAP, objects={"cube": object_state(turn, **parts)}) for turn in (start, end)]
    return step_to(states[1], before=states[0])._replace(action=np.zeros(16), previous_action=np.zeros(16))


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.12), (0.2, 0.19), (3.135, -3.14), (-3.14, 3.135)])
def test_turning_is_the_cubes_speed_about_the_vertical_also_through_the_wrap_around(start, end):
    turned = np.angle(np.exp(1j * (end - start)))
    step = cube_from_to(start, end)
    assert CUBE.turned(step.before, step.after) == pytest.approx(turned, abs=1e-12)
    a_hundredth = term(CUBE, "turning", cube_from_to(0.0, 0.01))
    assert a_hundredth > 0
    assert term(CUBE, "turning", step) == pytest.approx(a_hundredth * turned / 0.01)


def test_turning_faster_than_the_fastest_earns_no_more():
    fast, faster = (cube_from_to(0.0, CUBE.fastest / LEAP.control_rate * factor) for factor in (1.0, 2.0))
    assert term(CUBE, "turning", fast) == pytest.approx(term(CUBE, "turning", faster))


def test_turning_forward_and_snapping_back_earns_nothing():
    slow = CUBE.fastest / LEAP.control_rate
    forward = 10 * term(CUBE, "turning", cube_from_to(0.0, slow))
    assert forward + term(CUBE, "turning", cube_from_to(10 * slow, 0.0)) == pytest.approx(0.0)


def test_a_tilted_cube_is_turned_by_its_heading():
    step = cube_from_to(0.3, 0.33, tilt=0.4)
    assert CUBE.turned(step.before, step.after) == pytest.approx(0.03, abs=1e-12)


def test_a_slipping_cube_costs():
    still, slipping = cube_from_to(0.0, 0.0), cube_from_to(0.0, 0.0, velocity=(0.1, -0.2, 0.0))
    assert term(CUBE, "slip", still) == 0 > term(CUBE, "slip", slipping)


def test_a_dropped_cube_ends_the_episode():
    kept, dropped = (state_of(LEAP, objects={"cube": object_state(height=CUBE.lowest + d)}) for d in (0.01, -0.01))
    assert not CUBE.terminated(kept, np.zeros(0))
    assert CUBE.terminated(dropped, np.zeros(0))


@pytest.mark.parametrize(("revolutions", "success"), [(0.45, False), (0.55, True), (1.7, True), (-1.0, False)])
def test_half_a_revolution_counts_as_success_however_often_the_angle_wraps(revolutions, success):
    heading = 2.0 + np.linspace(0.0, 2 * np.pi * revolutions, 200)
    steps = {"cube_yaw_rad": np.angle(np.exp(1j * heading)), "cube_height_m": np.full(200, 0.3)}
    assert CUBE.summarise(steps)["turned_rad"] == pytest.approx(2 * np.pi * revolutions)
    assert CUBE.success(steps) == success


# -- push --------------------------------------------------------------------------------------------------------------

PUSH = {axes: Push(ARM, PushSettings(axes=axes)) for axes in ("x", "y", "both")}
LINES = np.array([0.38, 0.14])


def pushed(place, **readings):
    cylinder = ObjectState(np.array([*place, 0.04]), np.array([0.0, 0, 0, 1]), np.zeros(3), np.zeros(3))
    return step_to(state_of(ARM, objects={"cylinder": cylinder}, **readings), goal=LINES)


def test_the_rewards_of_the_two_skills_average_to_that_of_both_in_any_state():
    rng = np.random.default_rng(0)
    for _ in range(50):
        readings = {
            "joint_position": rng.uniform(ARM.lower, ARM.upper),
            "joint_velocity": rng.uniform(-3, 3, 3),
        }
        step = pushed(rng.uniform(-0.6, 0.6, 2), **readings)
        x, y, both = (float(PUSH[axes].reward(step)[0]) for axes in ("x", "y", "both"))
        assert both == pytest.approx(0.5 * (x + y), abs=1e-12)


def test_skills_and_their_mean_observe_the_same_and_start_alike():
    assert PUSH["x"].layout == PUSH["y"].layout == PUSH["both"].layout
    starts = [task.sample_start(np.random.default_rng(3)) for task in PUSH.values()]
    assert all(start.object_position == starts[0].object_position for start in starts)


@pytest.mark.parametrize(("axes", "index"), [("x", 0), ("y", 1)])
def test_a_skill_is_paid_by_the_distance_from_its_line_on_either_side_and_by_no_other(axes, index):
    task, across = PUSH[axes], np.eye(2)[index]
    assert term(task, axes, pushed(LINES)) == pytest.approx(1.0)
    for side in (1.0, -1.0):
        assert term(task, axes, pushed(LINES + side * task.near * across)) == pytest.approx(0.5)
        assert term(task, axes, pushed(LINES + side * 0.2 * (1 - across))) == pytest.approx(1.0)
    other = {"x": "y", "y": "x"}[axes]
    assert term(task, other, pushed(LINES)) == 0.0


def test_reaching_costs_the_distance_between_tip_and_object():
    joints, place = np.array([-0.7, 0.9, 0.4]), np.array([0.25, 0.1])
    headings = np.cumsum(joints)
    tip = np.array([0.22, 0.20, 0.14]) @ np.stack([np.cos(headings), np.sin(headings)], axis=-1)
    step = pushed(place, joint_position=joints)
    assert PUSH["x"].measure(step.after, LINES)["gap_m"] == pytest.approx(np.linalg.norm(tip - place))
    costs = [term(PUSH["x"], "reach", pushed(tip + np.array([d, 0.0]), joint_position=joints)) for d in (0.0, 0.1, 0.2)]
    assert costs[0] == pytest.approx(0.0, abs=1e-9)
    assert costs[2] == pytest.approx(2 * costs[1])
    assert costs[1] < 0


def test_fast_joints_cost():
    slow, fast = (term(PUSH["both"], "speed", pushed(LINES, joint_velocity=np.full(3, v))) for v in (0.0, 2.0))
    assert slow == 0.0 > fast


@pytest.mark.parametrize(
    ("errors", "success"),
    [
        ((0.02, 0.02), {"x": True, "y": True, "both": True}),
        ((0.02, 0.20), {"x": True, "y": False, "both": False}),
        ((0.04, 0.02), {"x": False, "y": True, "both": False}),
    ],
)
def test_pushing_succeeds_by_where_the_object_ends_and_by_the_lines_that_count(errors, success):
    steps = {name: np.array([0.5, 0.0, error]) for name, error in zip(("x_error_m", "y_error_m"), errors, strict=True)}
    steps["gap_m"] = np.zeros(3)
    assert {axes: task.success(steps) for axes, task in PUSH.items()} == success
    assert PUSH["x"].summarise(steps) == {"final_x_error_m": errors[0], "final_y_error_m": errors[1]}


def test_goals_of_pushing_are_the_lines_of_the_settings():
    task = Push(ARM, PushSettings(x=(0.3, 0.4), y=(-0.1, 0.1)))
    assert task.goal_ranges == {"x m": (0.3, 0.4), "y m": (-0.1, 0.1)}


def arm_outline(joints, points):
    """Points along the middle line of the arm, (3 points, 2)."""
    headings = np.cumsum(joints)
    way = np.stack([np.cos(headings), np.sin(headings)], axis=-1) * np.array([[0.22], [0.20], [0.14]])
    corners = np.concatenate([np.zeros((1, 2)), np.cumsum(way, axis=0)])
    return np.concatenate([np.linspace(start, end, points) for start, end in pairwise(corners)])


def test_pushing_starts_with_arm_and_object_everywhere_in_their_ranges_but_apart():
    robot = MujocoRobot(ARM, noise=False)
    rng = np.random.default_rng(0)
    places, joints = [], []
    for _ in range(200):
        start = PUSH["x"].sample_start(rng)
        place = robot.reset(start, rng).objects["cylinder"].position[:2]
        assert robot.data.ncon == 0
        distance = np.linalg.norm(arm_outline(start.joint_position, 200) - place, axis=-1).min()
        assert distance > PUSH["x"].settings.clearance
        places.append(place)
        joints.append(start.joint_position)
    assert np.min(places, axis=0) == pytest.approx([0.2, -0.12], abs=0.02)
    assert np.max(places, axis=0) == pytest.approx([0.36, 0.12], abs=0.02)
    assert np.abs(joints - ARM.home).max() <= PUSH["x"].settings.start_noise
    assert np.ptp(joints, axis=0).min() > 1.7 * PUSH["x"].settings.start_noise


def test_starts_that_cannot_be_are_refused_with_what_to_change():
    with pytest.raises(ConfigurationError, match="start_x, start_y or start_noise"):
        Push(ARM, PushSettings(clearance=0.9)).sample_start(np.random.default_rng(0))


def test_wrong_axes_and_an_arm_without_kinematics_are_refused_by_name(robot_spec, removed):
    with pytest.raises(ConfigurationError, match="axes must be one of x, y, both, got diagonal"):
        PushSettings(axes="diagonal")
    with pytest.raises(MissingSensor, match=r"'planar_arm'.*'legs'"):
        Push(robot_spec("planar_arm", {"legs": removed}))
