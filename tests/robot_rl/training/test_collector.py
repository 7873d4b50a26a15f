"""The ends of episodes, with one environment and with vectors in every mode of autoreset."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robot_rl.errors import ConfigurationError, InvalidInput, StorageError
from robot_rl.training.collector import Collector
from robot_rl.training.replay import Replay


class Counting(gymnasium.Env):
    """Observes [episode, tick]; every odd episode terminates after 3 steps, every even one is truncated after 4."""

    def __init__(self, bounds: tuple[float, float] = (-2.0, 2.0)) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(*bounds, (1,), np.float32)
        self.episode, self.tick = 0, 0
        self.commands: list[float] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.tick = self.episode + 1, 0
        return np.array([self.episode, 0], np.float32), {"reward_terms": {"reset": 99.0}}

    def step(self, action):
        self.commands.append(float(action[0]))
        self.tick += 1
        odd = self.episode % 2 == 1
        terminated, truncated = odd and self.tick == 3, not odd and self.tick == 4
        info = {"reward_terms": {"tick": float(self.tick)}, "safety": {"late": int(self.tick > 2)}}
        return np.array([self.episode, self.tick], np.float32), float(self.tick), terminated, truncated, info


ENVIRONMENTS = [
    pytest.param(Counting, id="single"),
    *(
        pytest.param(lambda mode=mode: SyncVectorEnv([Counting] * 3, autoreset_mode=mode), id=mode.name)
        for mode in AutoresetMode
    ),
]


@pytest.mark.parametrize("make", ENVIRONMENTS)
def test_every_transition_stays_within_its_episode(make):
    collector = Collector(make())
    collector.restart(0)
    replay = Replay(1000, 2, 1)
    for index in range(40):
        action = np.full((collector.count, 1), index / 40, np.float32)
        rows = collector.step(action)
        replay.add(rows.observation, rows.action, rows.reward, rows.next_observation, rows.terminated)
    batch = replay.sample(5000)
    episode, tick = batch.observation.T
    np.testing.assert_array_equal(batch.next_observation[:, 0], episode)
    np.testing.assert_array_equal(batch.next_observation[:, 1], tick + 1)
    np.testing.assert_array_equal(batch.reward, tick + 1)
    # Terminated in odd episodes at the third step; the truncation of the even ones is not a termination.
    np.testing.assert_array_equal(batch.terminated, (episode % 2 == 1) & (tick == 2))
    assert {3.0, 4.0} <= set(batch.next_observation[:, 1])  # the last observations are there


@pytest.mark.parametrize("make", ENVIRONMENTS)
def test_episodes_are_counted_once_with_their_terms_and_safety(make):
    collector = Collector(make())
    collector.restart(0)
    for _ in range(30):
        collector.step(np.zeros((collector.count, 1), np.float32))
    episodes = [episode.metrics() for episode in collector.take_finished()]
    assert collector.take_finished() == []
    assert len(episodes) >= 6 * collector.count
    for metrics in episodes:
        steps = 3 if metrics["terminated"] else 4
        assert metrics == {
            "length": steps,
            "return": sum(range(1, steps + 1)),
            "terminated": float(steps == 3),
            "reward_terms/tick": (steps + 1) / 2,
            "safety/late": steps - 2,
        }


def test_a_step_that_only_resets_is_no_transition():
    collector = Collector(SyncVectorEnv([Counting] * 2, autoreset_mode=AutoresetMode.NEXT_STEP))
    collector.restart(0)
    counts = [len(collector.step(np.zeros((2, 1), np.float32)).reward) for _ in range(9)]
    # Three steps, a reset, four steps, a reset.
    assert counts == [2, 2, 2, 0, 2, 2, 2, 2, 0]


def test_actions_are_mapped_onto_the_bounds_of_the_environment():
    env = Counting(bounds=(-1.0, 3.0))
    collector = Collector(env)
    collector.restart(0)
    for action in (-1.0, 0.0, 1.0):
        rows = collector.step(np.array([[action]], np.float32))
        assert rows.action[0, 0] == action  # the requested action is what is learnt from
    assert env.commands == [-1.0, 1.0, 3.0]


def test_restart_cuts_episodes_short_and_forgets_their_sums():
    collector = Collector(Counting())
    collector.restart(0)
    assert collector.at_start
    collector.step(np.zeros((1, 1), np.float32))
    assert not collector.at_start
    collector.restart(0)
    assert collector.at_start
    assert collector.observation[0, 1] == 0
    for _ in range(4):
        collector.step(np.zeros((1, 1), np.float32))
    assert [episode.length for episode in collector.take_finished()] == [4]


class Broken(Counting):
    """Gives NaN where it is told to."""

    broken = ""

    def reset(self, **arguments):
        observation, info = super().reset(**arguments)
        return observation * (np.nan if self.broken == "reset" else 1.0), info

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.broken == "observation":
            observation = np.array([0.0, np.nan], np.float32)
        return (observation, np.nan if self.broken == "reward" else reward, *rest)


@pytest.mark.parametrize("broken", ["reset", "observation", "reward"])
def test_nan_from_the_environment_is_refused_by_name(broken: str):
    env = Broken()
    env.broken = broken
    collector = Collector(env)

    def run() -> None:
        collector.restart(0)
        collector.step(np.zeros((1, 1), np.float32))

    with pytest.raises(InvalidInput, match=r"(observation|reward)\[.*nan"):
        run()


def test_nan_from_the_policy_never_reaches_the_environment():
    env = Counting()
    collector = Collector(env)
    collector.restart(0)
    with pytest.raises(InvalidInput, match=r"action\[0, 0\] is nan"):
        collector.step(np.array([[np.nan]], np.float32))
    assert env.commands == []


def test_spaces_that_do_not_suit_are_refused_with_what_is_allowed():
    env = Counting()
    env.action_space = gymnasium.spaces.Discrete(3)  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="action space must be a Box"):
        Collector(env)
    env = Counting(bounds=(-np.inf, np.inf))
    with pytest.raises(ConfigurationError, match="finite bounds"):
        Collector(env)
    env = Counting()
    env.observation_space = gymnasium.spaces.Box(0, 1, (2, 2))
    with pytest.raises(ConfigurationError, match="observation space must be a Box of one dimension"):
        Collector(env)


def test_a_snapshot_goes_on_in_the_middle_of_an_episode(small):
    def make() -> Collector:
        collector = Collector(small.make_environment("snapshots"))
        collector.restart(0)
        return collector

    original = make()
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 1, 1)).astype(np.float32)
    for action in actions[:10]:
        original.step(action)
    assert original.has_snapshots
    loaded = make()
    loaded.load_state(original.state(), seed=77)
    for action in actions[10:]:
        ours, theirs = original.step(action), loaded.step(action)
        for name in type(ours).__annotations__:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert [e.metrics() for e in original.take_finished()] == [e.metrics() for e in loaded.take_finished()]


def test_a_wrapper_with_unknown_state_means_no_snapshots(small):
    inner = small.PointMassWithSnapshots()
    inner.reset(seed=0)
    assert Collector(gymnasium.wrappers.TimeLimit(inner, 5)).has_snapshots
    assert not Collector(gymnasium.wrappers.FlattenObservation(inner)).has_snapshots
    assert not Collector(gymnasium.wrappers.NormalizeReward(inner)).has_snapshots
    assert not Collector(small.PointMass()).has_snapshots


def test_an_environment_that_cannot_take_the_snapshot_of_a_checkpoint_says_so(small):
    original = Collector(small.PointMassWithSnapshots())
    original.restart(0)
    with pytest.raises(StorageError, match="snapshot"):
        Collector(small.PointMass()).load_state(original.state(), seed=0)


def test_a_robot_that_cannot_be_saved_means_no_snapshots(small):
    class Hardware(small.PointMassWithSnapshots):
        def snapshot(self):
            raise ConfigurationError("not in the middle of an episode")

    assert not Collector(Hardware()).has_snapshots
