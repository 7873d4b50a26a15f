"""What every `Task` keeps to, on every robot it is made for. A new task joins by one line in SUITABLE."""

import dataclasses
import math

import numpy as np
import pytest

from robot_rl.env import RobotEnv
from robot_rl.errors import ConfigurationError, MissingSensor
from robot_rl.make import task_settings_class
from robot_rl.observation import QUANTITIES, Observer
from robot_rl.robot import JointCommand, ObjectState, RobotState
from robot_rl.settings import settings_of
from robot_rl.spec_file import load_robot
from robot_rl.task import Step
from robot_rl.tasks import TASKS
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot

SUITABLE = {
    "walk": ("go2", "minitaur"),
    "stand": ("go2", "minitaur"),
    "turn_valve": ("dclaw",),
    "rotate_cube": ("leap_hand",),
    "push": ("planar_arm",),
    "reach": ("planar_arm",),
}
PAIRS = [(task, robot) for task, robots in SUITABLE.items() for robot in robots]
COUNT = 6


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def played(request):
    """A task, and two successive states of a batch of its robot some ticks after the start."""
    task_name, robot_name = request.param
    spec = load_robot(robot_name)
    task = TASKS[task_name](spec)
    batch = MujocoBatch(spec, COUNT, threads=1)
    rng = np.random.default_rng(0)
    states = [batch.reset(np.arange(COUNT), [task.sample_start(rng) for _ in range(COUNT)], rng)]
    for _ in range(4):
        positions = spec.home + rng.uniform(-0.2, 0.2, (COUNT, spec.joints))
        states.append(batch.step(JointCommand(np.clip(positions, spec.lower, spec.upper))))
    batch.close()
    return task, states


@pytest.fixture
def task(played):
    return played[0]


@pytest.fixture
def step(played):
    """A control tick of a batch."""
    task, states = played
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (2, COUNT, task.spec.action.size))
    goals = np.stack([task.sample_goal(rng) for _ in range(COUNT)])
    return Step(states[-2], actions[0], actions[1], states[-1], goals)


def row_of(value, row):
    """One robot's part of something batched."""
    if dataclasses.is_dataclass(value):
        parts = {field.name: row_of(getattr(value, field.name), row) for field in dataclasses.fields(value)}
        return type(value)(**parts)
    if isinstance(value, Step):
        return Step(*(row_of(part, row) for part in value))
    if isinstance(value, dict):
        return {name: row_of(item, row) for name, item in value.items()}
    return None if value is None else value[row]


def frozen_copy(value):
    """The same with arrays that nobody may write."""
    if dataclasses.is_dataclass(value):
        parts = {field.name: frozen_copy(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return type(value)(**parts)
    if isinstance(value, Step):
        return Step(*(frozen_copy(part) for part in value))
    if isinstance(value, dict):
        return {name: frozen_copy(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.copy()
        value.setflags(write=False)
    return value


def test_every_task_of_the_project_is_in_this_suite():
    assert set(SUITABLE) == set(TASKS)
    assert all(SUITABLE.values())


@pytest.mark.parametrize("task_name", TASKS)
def test_a_range_that_nothing_can_be_drawn_from_is_refused_by_name(task_name):
    settings = task_settings_class(task_name)
    known = settings_of(settings).values() if settings else ()
    for name in [setting.name for setting in known if (setting.kind, setting.length) == (float, 2)]:
        for ends in ((0.3, 0.2), (0.1, math.inf), (-math.inf, 0.1), (math.nan, 0.1), (0.1, math.nan)):
            with pytest.raises(ConfigurationError, match=f"task {task_name}: {name} must be a finite range"):
                settings(**{name: ends})
        assert getattr(settings(**{name: (0.2, 0.2)}), name) == (0.2, 0.2)


def test_the_task_says_its_name(task):
    assert TASKS[task.name] is type(task)
    assert task.time_limit > 0


def test_the_layout_names_every_number_of_the_observation(task, played):
    observer = Observer(task.layout)
    state = row_of(played[1][-1], 0)
    observer.reset(state, np.zeros(task.spec.action.size), task.sample_goal(np.random.default_rng(0)))
    size = observer.observation().size
    assert task.layout.size == size
    assert len(task.layout.labels) == len(set(task.layout.labels)) == size
    assert task.layout.offset.shape == task.layout.scale.shape == (size,)
    assert np.all(np.isfinite(observer.observation()))


def test_the_reward_is_the_sum_of_its_terms_and_finite(task, step):
    reward, terms = task.reward(step)
    assert set(terms) == set(task.terms)
    assert np.shape(reward) == (COUNT,)
    for name, term in terms.items():
        assert np.shape(term) == (COUNT,), name
        assert np.all(np.isfinite(term)), name
        assert term == pytest.approx(task.terms[name].weight * task.terms[name].value(step)), name
    assert reward == pytest.approx(np.sum(list(terms.values()), axis=0))


def test_a_batch_is_rewarded_row_by_row(task, step):
    reward, terms = task.reward(step)
    for row in range(COUNT):
        one, terms_of_one = task.reward(row_of(step, row))
        assert np.shape(one) == ()
        assert one == pytest.approx(reward[row], rel=1e-12, abs=1e-12)
        for name, term in terms_of_one.items():
            assert np.shape(term) == (), name
            assert term == pytest.approx(terms[name][row], rel=1e-12, abs=1e-12), name


def test_a_batch_ends_row_by_row(task, step):
    ended = task.terminated(step.after, step.goal)
    assert ended.shape == (COUNT,)
    assert ended.dtype == bool
    for row in range(COUNT):
        one = task.terminated(row_of(step.after, row), step.goal[row])
        assert np.shape(one) == ()
        assert bool(one) == ended[row]


def test_a_batch_is_measured_row_by_row(task, step):
    measures = task.measure(step.after, step.goal)
    for name, values in measures.items():
        assert np.shape(values) == (COUNT,), name
        for row in range(COUNT):
            one = task.measure(row_of(step.after, row), step.goal[row])[name]
            assert one == pytest.approx(values[row], rel=1e-12, abs=1e-12), name


def test_rewards_ends_and_measures_only_read(task, step):
    still = frozen_copy(step)
    reward, _ = task.reward(still)
    task.terminated(still.after, still.goal)
    task.measure(still.after, still.goal)
    assert np.array_equal(reward, task.reward(step)[0])


def test_an_episode_is_summarised_in_plain_numbers(task, played):
    goal = task.sample_goal(np.random.default_rng(0))
    measures = [task.measure(row_of(state, 0), goal) for state in played[1]]
    stacked = {name: np.stack([measure[name] for measure in measures]) for name in measures[0]}
    figures = task.summarise(stacked)
    assert all(type(value) is float and np.isfinite(value) for value in figures.values())
    assert task.success(stacked) in (True, False, None)


def test_goals_lie_in_the_declared_ranges(task):
    rng = np.random.default_rng(0)
    goals = np.stack([task.sample_goal(rng) for _ in range(200)])
    assert goals.shape == (200, len(task.goal_labels))
    assert set(task.goal_ranges) == set(task.goal_labels)
    for column, label in enumerate(task.goal_labels):
        low, high = task.goal_ranges[label]
        assert np.all((goals[:, column] >= low) & (goals[:, column] <= high)), label
        assert np.ptp(goals[:, column]) >= 0.9 * (high - low), label


def test_starts_are_within_the_joint_limits_and_place_only_objects_that_exist(task):
    rng = np.random.default_rng(0)
    for _ in range(50):
        start = task.sample_start(rng)
        assert np.all((start.joint_position >= task.spec.lower) & (start.joint_position <= task.spec.upper))
        assert {*start.object_yaw, *start.object_position} <= set(task.spec.objects)


def test_goals_and_starts_come_from_the_generator_alone(task):
    draws = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        draws.append([(task.sample_goal(rng), task.sample_start(rng).joint_position) for _ in range(3)])
    for (goal, start), (other_goal, other_start) in zip(*draws, strict=True):
        assert np.array_equal(goal, other_goal)
        assert np.array_equal(start, other_start)


@pytest.mark.parametrize(("task_name", "robot_name"), PAIRS)
def test_a_robot_without_an_observed_sensor_is_refused_by_the_sensors_name(task_name, robot_name, robot_spec, removed):
    kind = TASKS[task_name]
    observed = {sensor for name in (*kind.current, *kind.history) for sensor in QUANTITIES[name].sensors}
    for sensor in observed - {"joint_position", "joint_velocity"}:  # every robot has these two
        with pytest.raises(MissingSensor) as caught:
            kind(robot_spec(robot_name, {f"sensors.{sensor}": removed}))
        assert repr(sensor) in str(caught.value)
        assert repr(robot_name) in str(caught.value)


@pytest.mark.parametrize(("task_name", "robot_name"), [pair for pair in PAIRS if TASKS[pair[0]].objects is not None])
def test_a_robot_with_another_number_of_objects_is_refused(task_name, robot_name, robot_spec):
    with pytest.raises(ConfigurationError) as caught:
        TASKS[task_name](robot_spec(robot_name, {"objects": ["first", "second"]}))
    assert str(caught.value) == (
        f"task {task_name!r} is for a robot with 1 of 'objects'; robot {robot_name!r} has 2: first, second"
    )


@pytest.mark.parametrize("task_name", [name for name, kind in TASKS.items() if kind.fixed_base])
def test_a_task_for_an_arm_refuses_a_robot_that_could_walk_away(task_name, robot_spec):
    spec = robot_spec("go2", {"objects": ["ball"], "sensors.objects": {}})
    with pytest.raises(ConfigurationError, match=f"task '{task_name}' .* a fixed base; .* 'go2' is floating"):
        TASKS[task_name](spec)


def test_a_robot_that_does_not_provide_what_the_reward_needs_is_refused_by_name(task):
    everything = frozenset({*task.spec.sensors, *task.spec.simulation.truth})
    task.check_robot(everything)
    for name in task.reward_needs:
        with pytest.raises(MissingSensor) as caught:
            task.check_robot(everything - {name})
        assert repr(name) in str(caught.value)
        assert repr(task.name) in str(caught.value)


@pytest.mark.parametrize(("task_name", "robot_name"), PAIRS)
def test_a_robot_that_has_no_more_than_the_task_asks_for_can_do_it(task_name, robot_name, robot_spec):
    kind = TASKS[task_name]
    needed = {sensor for name in (*kind.current, *kind.history) for sensor in QUANTITIES[name].sensors}
    needed |= {"joint_position", "joint_velocity"}
    truth = [name for name in kind.reward_needs if name not in needed]
    spec = robot_spec(robot_name, {"sensors": {name: {} for name in needed}, "simulation.truth": truth})
    env = RobotEnv(MujocoRobot(spec), kind(spec))
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(spec.action.size))


@pytest.mark.parametrize(("task_name", "robot_name"), PAIRS)
def test_the_reward_reads_joints_and_objects_by_name_and_not_by_luck(task_name, robot_name):
    # An object that the task does not know of, before its own, must change nothing.
    spec = load_robot(robot_name)
    task = TASKS[task_name](spec)
    if not spec.objects:
        return
    robot = MujocoRobot(spec, noise=False)
    rng = np.random.default_rng(0)
    before = robot.reset(task.sample_start(rng), rng)
    after = robot.step(JointCommand(spec.home))
    stranger = {"stranger": ObjectState(np.full(3, 9.0), np.array([1.0, 0, 0, 0]), np.ones(3), np.ones(3))}

    def beside_a_stranger(state: RobotState) -> RobotState:
        return dataclasses.replace(state, objects={**stranger, **state.objects})

    action, goal = np.zeros(spec.action.size), task.sample_goal(rng)
    alone = task.reward(Step(before, action, action, after, goal))[0]
    crowded = task.reward(Step(beside_a_stranger(before), action, action, beside_a_stranger(after), goal))[0]
    assert alone == crowded
