"""What every `Robot` keeps to, whatever is behind it. A new backend joins by one line in BACKENDS.

A backend is a function (spec) -> Robot without sensor noise, or None where it cannot have that robot.
"""

import dataclasses

import numpy as np
import pytest

from robot_rl.errors import InvalidInput
from robot_rl.robot import JointCommand, Robot, RobotState, Snapshot, Start
from robot_rl.spec_file import builtin_robots, load_robot
from sim.mujoco_batch import MujocoBatch
from sim.mujoco_robot import MujocoRobot

READINGS = {field.name for field in dataclasses.fields(RobotState)} - {"stamp", "objects", "applied"}
"""Fields of a state that are sensors; a sensor's name is the field's, without the order of a quaternion."""


class OneOfABatch:
    """One copy of a batch, seen as a robot."""

    def __init__(self, batch, row):
        self.batch, self.row = batch, row
        self.spec, self.provides = batch.spec, batch.provides

    def reset(self, start, rng):
        return self._mine(self.batch.reset(np.array([self.row]), [start], rng), 0)

    def step(self, command):
        positions = np.tile(self.spec.home, (self.batch.count, 1))
        if np.shape(command.position) != (self.spec.joints,):
            positions = np.array(command.position)  # the batch itself must refuse it
        else:
            positions[self.row] = command.position
        return self._mine(self.batch.step(JointCommand(positions)), self.row)

    def stop(self):
        pass

    def close(self):
        self.batch.close()

    def snapshot(self):
        return self.batch.snapshot()

    def restore(self, snapshot):
        self.batch.restore(snapshot)

    @staticmethod
    def _mine(state, row):
        def pick(value):
            if dataclasses.is_dataclass(value):
                return type(value)(*(pick(getattr(value, field.name)) for field in dataclasses.fields(value)))
            if isinstance(value, dict):
                return {name: pick(item) for name, item in value.items()}
            return None if value is None else value[row]

        return pick(state)


def in_pybullet(spec):
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    from sim.pybullet_robot import PyBulletRobot

    return PyBulletRobot(spec, noise=False)


def in_a_pybullet_batch(spec):
    pytest.importorskip("pybullet", reason="PyBullet is not installed (extra 'pybullet')")
    from sim.pybullet_batch import PyBulletBatch

    return OneOfABatch(PyBulletBatch(spec, 2, noise=False), 1)


BACKENDS = {
    "mujoco": lambda spec: MujocoRobot(spec, noise=False),
    "mujoco-batch": lambda spec: OneOfABatch(MujocoBatch(spec, 3, threads=2, noise=False), 1),
    "pybullet": in_pybullet,
    "pybullet-batch": in_a_pybullet_batch,
}
ONLY = {"pybullet-batch": ("go2", "planar_arm")}
"""Robots of a backend that has nothing of its own: the copies of this batch are those of `pybullet`."""
CASES = [(backend, name) for name in builtin_robots() for backend in BACKENDS if name in ONLY.get(backend, (name,))]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def build(request):
    """Makes one more of the robot that is tested."""
    backend, name = request.param

    def one():
        robot = BACKENDS[backend](load_robot(name))
        if robot is None:
            pytest.skip(f"{backend} cannot simulate {name}")
        return robot

    return one


@pytest.fixture(scope="module")
def robot(build):
    """One for all tests: each begins with a reset, and a reset forgets all that was before."""
    robot = build()
    yield robot
    robot.close()


@pytest.fixture
def make(build):
    opened = []

    def one():
        opened.append(build())
        return opened[-1]

    yield one
    for robot in opened:
        robot.close()


def start_of(spec, seed=0):
    rng = np.random.default_rng(seed)
    position = np.clip(spec.home + rng.uniform(-0.05, 0.05, spec.joints), spec.lower, spec.upper)
    return Start(
        position,
        base_yaw=0.4 if spec.base == "floating" else 0.0,
        object_yaw=dict.fromkeys(spec.objects, 0.1),
    )


def commands_of(spec, count, seed=1):
    rng = np.random.default_rng(seed)
    positions = spec.home + np.cumsum(rng.uniform(-0.05, 0.05, (count, spec.joints)), axis=0)
    return [JointCommand(position) for position in np.clip(positions, spec.lower, spec.upper)]


def arrays_of(state):
    """Every number of a state, by name."""
    arrays = {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "objects"}
    for name, item in state.objects.items():
        arrays |= {f"{name}.{f.name}": getattr(item, f.name) for f in dataclasses.fields(item)}
    return {name: np.asarray(value) for name, value in arrays.items() if value is not None}


def assert_same(state, other):
    arrays, others = arrays_of(state), arrays_of(other)
    assert set(arrays) == set(others)
    for name in arrays:
        assert np.array_equal(arrays[name], others[name]), name


def walk_through(robot, count=5):
    states = [robot.reset(start_of(robot.spec), np.random.default_rng(0))]
    return states + [robot.step(command) for command in commands_of(robot.spec, count)]


def test_it_is_a_robot(robot):
    assert isinstance(robot, Robot)
    assert set(robot.spec.sensors) <= robot.provides


def test_a_state_has_what_the_robot_provides_and_nothing_else(robot):
    for state in walk_through(robot):
        given = {name.removesuffix("_xyzw") for name in READINGS if getattr(state, name) is not None}
        assert given | ({"objects"} if state.objects else set()) == robot.provides
        assert tuple(state.objects) == (robot.spec.objects if "objects" in robot.provides else ())


def test_every_reading_is_finite_of_its_documented_size_and_double_precision(robot):
    spec = robot.spec
    sizes = dict.fromkeys(("joint_position", "joint_velocity", "joint_effort", "applied"), spec.joints)
    sizes |= {"orientation_xyzw": 4, "contacts": len(spec.feet)}
    for state in walk_through(robot):
        for name, array in arrays_of(state).items():
            if name != "stamp":
                size = sizes.get(name.rpartition(".")[2], 3)
                assert array.shape == (size,), name
                assert array.dtype == np.float64, name
            assert np.all(np.isfinite(array)), name


def test_orientations_are_unit_quaternions(robot):
    for state in walk_through(robot):
        for name, array in arrays_of(state).items():
            if name.endswith("orientation_xyzw"):
                assert np.linalg.norm(array) == pytest.approx(1.0, abs=1e-9)


def test_reset_brings_the_joints_to_the_start_at_rest(robot):
    start = start_of(robot.spec)
    walk_through(robot)
    state = robot.reset(start, np.random.default_rng(0))
    assert state.joint_position == pytest.approx(start.joint_position, abs=1e-6)
    assert np.all(np.abs(state.joint_velocity) < 1e-6)
    assert state.applied == pytest.approx(start.joint_position)
    if state.orientation_xyzw is not None:
        assert state.orientation_xyzw == pytest.approx([0, 0, np.sin(0.2), np.cos(0.2)], abs=1e-9)
        assert state.gravity == pytest.approx([0, 0, -1], abs=1e-9)
    for item in state.objects.values():
        assert np.linalg.norm(item.linear_velocity) < 1e-6


def test_time_goes_on_by_one_control_tick_a_step(robot):
    stamps = [float(state.stamp) for state in walk_through(robot, 20)]
    assert np.diff(stamps) == pytest.approx(robot.spec.control_dt, abs=1e-9)


def test_the_state_tells_the_command_that_was_applied(robot):
    states = walk_through(robot)
    for state, command in zip(states[1:], commands_of(robot.spec, 5), strict=True):
        assert np.array_equal(state.applied, command.position)


def test_joints_follow_their_commands(robot):
    spec = robot.spec
    towards_the_middle = np.where(0.5 * (spec.lower + spec.upper) < spec.home, -1.0, 1.0)
    reached = []
    for move in (0.0, 0.1):
        robot.reset(Start(spec.home), np.random.default_rng(0))
        for _ in range(round(0.5 * spec.control_rate)):
            state = robot.step(JointCommand(spec.home + move * towards_the_middle))
        reached.append(state.joint_position * towards_the_middle)
    # Not exactly .1: compliant joints yield to the weight they carry.
    assert 0.05 < np.mean(reached[1] - reached[0]) < 0.2


def test_effort_stays_within_the_limit(robot):
    spec = robot.spec
    robot.reset(Start(spec.home), np.random.default_rng(0))
    for target in (spec.upper, spec.lower, spec.upper):
        effort = robot.step(JointCommand(target)).joint_effort
        if effort is not None:
            assert np.all(np.abs(effort) <= spec.effort_limit * (1 + 1e-9))


def test_two_robots_do_the_same(make):
    for state, other in zip(walk_through(make()), walk_through(make()), strict=True):
        assert_same(state, other)


def test_a_reset_forgets_all_that_was_before(robot):
    first = walk_through(robot)
    for command in commands_of(robot.spec, 7, seed=9):
        robot.step(command)
    for state, other in zip(first, walk_through(robot), strict=True):
        assert_same(state, other)


def test_a_state_that_was_handed_out_never_changes(robot):
    states = [robot.reset(start_of(robot.spec), np.random.default_rng(0))]
    copies = [{name: array.copy() for name, array in arrays_of(states[0]).items()}]
    for command in commands_of(robot.spec, 4):
        states.append(robot.step(command))
        copies.append({name: array.copy() for name, array in arrays_of(states[-1]).items()})
    robot.reset(Start(robot.spec.home), np.random.default_rng(1))
    for state, copy in zip(states, copies, strict=True):
        for name, array in arrays_of(state).items():
            assert np.array_equal(array, copy[name]), name


def test_the_command_may_be_reused_by_the_caller(make):
    mine, yours = make(), make()
    for robot in (mine, yours):
        robot.reset(start_of(robot.spec), np.random.default_rng(0))
    position = np.array(mine.spec.home)
    first = mine.step(JointCommand(position))
    applied = first.applied.copy()
    position += 1.0
    assert np.array_equal(first.applied, applied)
    yours.step(JointCommand(mine.spec.home))
    assert_same(mine.step(JointCommand(mine.spec.home)), yours.step(JointCommand(mine.spec.home)))


def test_a_command_that_is_not_finite_is_refused_by_joint_name_and_changes_nothing(make):
    robot, other = make(), make()
    for one in (robot, other):
        one.reset(start_of(one.spec), np.random.default_rng(0))
    for bad in (np.nan, np.inf, -np.inf):
        position = np.array(robot.spec.home)
        position[-1] = bad
        with pytest.raises(InvalidInput) as caught:
            robot.step(JointCommand(position))
        assert robot.spec.joint_names[-1] in str(caught.value)
        assert robot.spec.name in str(caught.value)
        assert "\n" not in str(caught.value)
        assert_same(robot.step(JointCommand(robot.spec.home)), other.step(JointCommand(robot.spec.home)))


def test_a_command_of_the_wrong_size_is_refused(robot):
    robot.reset(start_of(robot.spec), np.random.default_rng(0))
    for position in (robot.spec.home[:-1], np.append(robot.spec.home, 0.0), np.zeros(())):
        with pytest.raises(InvalidInput, match="shape"):
            robot.step(JointCommand(position))


def test_stop_and_close_may_be_called_at_any_time_and_often(make):
    robot = make()
    robot.stop()
    robot.stop()
    walk_through(robot, 1)
    robot.stop()
    robot.close()
    robot.close()


def test_a_snapshot_continues_bit_for_bit_also_in_another_robot(make):
    robot, other = make(), make()
    if not isinstance(robot, Snapshot):
        pytest.skip(f"{type(robot).__name__} takes no snapshots")
    walk_through(robot, 3)
    snapshot = robot.snapshot()
    commands = commands_of(robot.spec, 5, seed=5)
    expected = [robot.step(command) for command in commands]
    walk_through(other, 7)
    for back in (robot, other):
        back.restore(snapshot)
        for command, state in zip(commands, expected, strict=True):
            assert_same(back.step(command), state)


def test_a_snapshot_is_made_of_copies(robot):
    if not isinstance(robot, Snapshot):
        pytest.skip(f"{type(robot).__name__} takes no snapshots")
    walk_through(robot, 3)
    snapshot = robot.snapshot()
    kept = {name: np.array(value) for name, value in snapshot.items()}
    walk_through(robot, 2)
    for name, value in snapshot.items():
        assert np.array_equal(value, kept[name]), name
