"""A bag's timing log against the moments that it was recorded at, and replayed in simulation."""

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from hardware.bag import Bag
from hardware.bag_timing import bag_timing
from hardware.recorder import Recorder
from robot_rl.cli import main
from robot_rl.errors import ConfigurationError
from robot_rl.make import load_randomization, make_env
from robot_rl.spec_file import load_robot
from robot_rl.timing import read_timing

BEGIN = 1_700_000_000_000_000_000
"""ns since 1970."""


def record(folder, periods, ages, offset=0.0, episodes=2):
    """Episodes of a policy with these periods and ages, s; stamps of a clock that is `offset` s behind."""
    spec = load_robot("go2")
    recorder = Recorder(folder, spec, task="walk")
    now = BEGIN
    for _ in range(episodes):
        now += 10**10
        recorder.begin_episode(moment=now)
        for period, age in zip(periods, ages, strict=True):
            now += round(period * 1e9)
            stamp = (now - BEGIN) * 1e-9 + BEGIN * 1e-9 - age - offset
            recorder.policy(np.zeros(3), np.zeros(12), spec.home, np.zeros(4), stamp, moment=now)
        recorder.end_episode("time limit", moment=now)
    recorder.close()
    assert not recorder.fault
    return Bag(folder)


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(0)
    return 0.02 + rng.uniform(-0.003, 0.003, 60), rng.uniform(0.001, 0.015, 60)


def test_periods_and_ages_are_those_of_the_recording(measured, tmp_path):
    periods, ages = measured
    timing = bag_timing(record(tmp_path / "bag", periods, ages))
    assert timing.same_clock
    assert timing.trace.period == pytest.approx(np.tile(periods[1:], 2), abs=1e-9)
    assert timing.trace.state_age == pytest.approx(np.tile(ages[1:], 2), abs=2e-6)


def test_ages_of_another_clock_are_counted_from_the_least(measured, tmp_path):
    periods, ages = measured
    timing = bag_timing(record(tmp_path / "bag", periods, ages, offset=1.6e9))
    assert not timing.same_clock
    assert timing.trace.state_age == pytest.approx(np.tile(ages[1:] - ages[1:].min(), 2), abs=2e-6)


def test_a_bag_without_episodes_has_no_timing(tmp_path):
    recorder = Recorder(tmp_path / "bag", load_robot("go2"))
    recorder.begin_part()
    recorder.message("/battery", "std_msgs/msg/String", recorder.types.to_bytes(
        recorder.types.make("std_msgs/msg/String", data="full"), "std_msgs/msg/String"
    ))  # fmt: skip
    recorder.close()
    with pytest.raises(ConfigurationError, match="no episodes"):
        bag_timing(Bag(tmp_path / "bag"))


def test_from_the_bag_to_the_simulation_end_to_end(measured, tmp_path, capsys):
    periods, ages = measured
    record(tmp_path / "bag", periods, ages)
    log, settings = tmp_path / "timing.csv", tmp_path / "mine.yaml"
    assert main(["info", str(tmp_path / "bag"), "--timing", str(log)]) == 0
    assert "118 ticks" in capsys.readouterr().err
    settings.write_text("timing: {log: timing.csv}\n")  # beside the file
    trace = read_timing(log)
    env = make_env("go2", "walk", randomization=load_randomization(settings, "go2"))
    env.reset(seed=0)
    row = int(env.robot.drawn["timing.start"])
    before, due = 0.0, 0.0
    for tick in range(100):
        *_, terminated, _, _ = env.step(np.zeros(12, np.float32))
        due += trace.period[(row + tick) % 118]
        now, stamp = env.robot.data.time, float(env.state.stamp)
        assert now == pytest.approx(due, abs=0.0026)  # physics of 200 Hz
        assert stamp == pytest.approx(max(now - trace.state_age[(row + tick) % 118], before))
        before = stamp
        assert not terminated
    env.close()


def test_only_a_bag_has_a_timing_log(tmp_path, capsys):
    assert main(["info", "go2-walk", "--timing", str(tmp_path / "t.csv")]) == 2
    assert "go2-walk is no bag" in capsys.readouterr().err
