"""Many copies of a robot in MuJoCo: each is exactly the robot that one would have alone."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from robot_rl.errors import ConfigurationError, InvalidInput, RobotFault
from robot_rl.robot import BatchRobot, JointCommand, RobotState, Start
from robot_rl.spec_file import builtin_robots
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot

ROBOTS = builtin_robots()
COUNT = 5


@pytest.fixture
def make(robot_spec):
    """`make("go2", count=5, threads=2, noise=False, changes=None)` builds a batch."""
    opened = []

    def build(name="go2", *, count=COUNT, threads=2, noise=False, changes=None):
        opened.append(MujocoBatch(robot_spec(name, changes), count, threads=threads, noise=noise))
        return opened[-1]

    yield build
    for batch in opened:
        batch.close()


def starts_of(spec, count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.clip(spec.home + rng.uniform(-0.05, 0.05, (count, spec.joints)), spec.lower, spec.upper)
    return [
        Start(position, base_yaw=float(rng.uniform(-3, 3)), object_yaw=dict.fromkeys(spec.objects, 0.1 * row))
        for row, position in enumerate(positions)
    ]


def commands_of(spec, ticks, count=COUNT, seed=1):
    rng = np.random.default_rng(seed)
    wander = spec.home + np.cumsum(rng.uniform(-0.05, 0.05, (ticks, count, spec.joints)), axis=0)
    return [JointCommand(positions) for positions in np.clip(wander, spec.lower, spec.upper)]


def arrays_of(state: RobotState):
    arrays = {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "objects"}
    for name, item in state.objects.items():
        arrays |= {f"{name}.{f.name}": getattr(item, f.name) for f in dataclasses.fields(item)}
    return {name: np.asarray(value) for name, value in arrays.items() if value is not None}


def assert_row_is(batch_state, row, state):
    ours, theirs = arrays_of(batch_state), arrays_of(state)
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        assert np.array_equal(ours[name][row], array), name


def assert_same(state, other):
    ours, theirs = arrays_of(state), arrays_of(other)
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        assert np.array_equal(ours[name], array), name


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_every_row_is_the_single_robot_bit_for_bit(name, delay, make, robot_spec):
    changes = {"simulation.actuator_delay": delay}
    batch = make(name, changes=changes)
    assert isinstance(batch, BatchRobot)
    rng = np.random.default_rng(0)
    states = [batch.reset(np.arange(COUNT), starts_of(batch.spec), rng)]
    states += [batch.step(command) for command in commands_of(batch.spec, 15)]
    for row, start in enumerate(starts_of(batch.spec)):
        single = MujocoRobot(robot_spec(name, changes), noise=False)
        assert_row_is(states[0], row, single.reset(start, rng))
        for state, command in zip(states[1:], commands_of(batch.spec, 15), strict=True):
            assert_row_is(state, row, single.step(JointCommand(command.position[row])))


def test_a_batch_of_one_has_the_noise_of_the_single_robot(make, robot_spec):
    batch, single = make(count=1, noise=True), MujocoRobot(robot_spec("go2"))
    start = Start(batch.spec.home)
    assert_row_is(
        batch.reset(np.array([0]), [start], np.random.default_rng(4)), 0, single.reset(start, np.random.default_rng(4))
    )
    for command in commands_of(batch.spec, 5, count=1):
        assert_row_is(batch.step(command), 0, single.step(JointCommand(command.position[0])))


def test_copies_have_their_own_noise_and_the_same_physics(make):
    batch = make(noise=True)
    state = batch.reset(np.arange(COUNT), [Start(batch.spec.home)] * COUNT, np.random.default_rng(0))
    for _ in range(5):
        assert len(np.unique(state.joint_position, axis=0)) == COUNT
        assert len(np.unique(state.base_position, axis=0)) == 1
        state = batch.step(JointCommand(np.tile(batch.spec.home, (COUNT, 1))))


def test_noise_of_a_batch_spreads_as_the_robots_file_says(make):
    batch = make(count=400, noise=True)
    state = batch.reset(np.arange(400), [Start(batch.spec.home)] * 400, np.random.default_rng(0))
    for sensor in ("joint_position", "joint_velocity", "angular_velocity"):
        samples = getattr(state, sensor)
        assert samples.std(0, ddof=1) == pytest.approx(batch.spec.sensors[sensor], rel=0.2)


@pytest.mark.parametrize("threads", [1, 2, 3, 9])
def test_the_number_of_threads_changes_nothing(threads, make):
    reference, batch = make(threads=1), make(threads=threads)
    for one in (reference, batch):
        one.reset(np.arange(COUNT), starts_of(one.spec), np.random.default_rng(0))
    for command in commands_of(batch.spec, 8):
        assert_same(batch.step(command), reference.step(command))


def test_resetting_some_copies_reads_these_and_leaves_the_others(make):
    batch, undisturbed = make(), make()
    for one in (batch, undisturbed):
        one.reset(np.arange(COUNT), starts_of(one.spec), np.random.default_rng(0))
    commands = commands_of(batch.spec, 10)
    for command in commands[:5]:
        batch.step(command)
        undisturbed.step(command)
    again = starts_of(batch.spec, 2, seed=7)
    state = batch.reset(np.array([3, 1]), again, np.random.default_rng(0))
    assert state.joint_position == pytest.approx(np.stack([start.joint_position for start in again]), abs=1e-9)
    assert state.stamp.tolist() == [0.0, 0.0]
    for command in commands[5:]:
        ours, theirs = arrays_of(batch.step(command)), arrays_of(undisturbed.step(command))
        for name, array in theirs.items():
            assert np.array_equal(ours[name][[0, 2, 4]], array[[0, 2, 4]]), name
            if name == "joint_position":
                assert not np.array_equal(ours[name][[1, 3]], array[[1, 3]])


def test_states_that_were_handed_out_never_change_and_cannot_be_written(make):
    batch = make(noise=True)
    states = [batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))]
    copies = [{name: array.copy() for name, array in arrays_of(states[0]).items()}]
    for command in commands_of(batch.spec, 4):
        states.append(batch.step(command))
        copies.append({name: array.copy() for name, array in arrays_of(states[-1]).items()})
    batch.reset(np.array([0, 2]), starts_of(batch.spec, 2), np.random.default_rng(1))
    for state, kept in zip(states, copies, strict=True):
        for name, array in arrays_of(state).items():
            assert np.array_equal(array, kept[name]), name
            assert not array.flags.writeable, name


@pytest.mark.parametrize("name", ROBOTS)
def test_a_snapshot_continues_bit_for_bit_also_in_another_batch(name, make):
    changes = {"simulation.actuator_delay": 0.02}
    batch, other = make(name, noise=True, changes=changes), make(name, noise=True, changes=changes)
    batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))
    for command in commands_of(batch.spec, 4):
        batch.step(command)
    snapshot = batch.snapshot()
    commands = commands_of(batch.spec, 6, seed=5)
    batch.use_rng(np.random.default_rng(8))
    expected = [batch.step(command) for command in commands]
    for again in (other, batch):
        again.restore(snapshot)
        again.use_rng(np.random.default_rng(8))
        for command, state in zip(commands, expected, strict=True):
            assert_same(again.step(command), state)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_command_that_is_not_finite_is_refused_by_copy_and_joint(bad, make):
    batch = make()
    batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))
    positions = np.tile(batch.spec.home, (COUNT, 1))
    positions[3, 7] = bad
    with pytest.raises(InvalidInput, match="copy 3, RL_thigh_joint"):
        batch.step(JointCommand(positions))


@pytest.mark.parametrize("shape", [(12,), (4, 12), (5, 11)])
def test_commands_of_the_wrong_shape_are_refused_with_both_shapes(shape, make):
    batch = make()
    batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))
    with pytest.raises(InvalidInput, match=r"expected shape \(5, 12\), got \("):
        batch.step(JointCommand(np.zeros(shape)))


@pytest.mark.parametrize("count", [0, -1])
def test_an_empty_batch_is_refused(count, robot_spec):
    with pytest.raises(ConfigurationError, match=f"at least 1 robot, got {count}"):
        MujocoBatch(robot_spec("go2"), count)


def test_one_copy_that_diverges_is_a_fault(make, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its own log where it runs
    batch = make()
    batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))
    home = JointCommand(np.tile(batch.spec.home, (COUNT, 1)))
    batch.step(home)
    batch.datas[2].qvel[:] = 1e12
    with pytest.raises(RobotFault, match="'go2' diverged"):
        batch.step(home)


def test_closing_ends_the_threads_and_may_be_repeated(make):
    before = threading.active_count()
    batch = make(threads=3)
    batch.reset(np.arange(COUNT), starts_of(batch.spec), np.random.default_rng(0))
    batch.step(JointCommand(np.tile(batch.spec.home, (COUNT, 1))))
    assert threading.active_count() > before
    batch.close()
    batch.close()
    assert threading.active_count() == before


def test_other_threads_run_while_a_batch_steps(make):
    batch = make("minitaur", count=64, threads=1)
    batch.reset(np.arange(64), [Start(batch.spec.home)] * 64, np.random.default_rng(0))
    turns, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0)

    other = threading.Thread(target=count)
    other.start()
    try:
        most = 0
        for _ in range(5):  # on a busy machine the other thread may not be scheduled at all
            before = turns[0]
            batch.step(JointCommand(np.tile(batch.spec.home, (64, 1))))
            most = max(most, turns[0] - before)
        # With the interpreter locked for the whole step it would get a handful of turns.
        assert most > 64
    finally:
        stop.set()
        other.join()
