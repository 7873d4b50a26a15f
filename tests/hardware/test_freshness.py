"""When a stream of stamped messages counts as alive; no ROS and no clock, all times are given."""

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (extra 'ros')")

from hardware.freshness import RESTART, Freshness
from robot_rl.errors import InvalidInput

TIMEOUT, PERIOD = 0.1, 0.01


def refused(freshness: Freshness, stamp_of: Callable[[float], float], first: float, seconds: float) -> list[float]:
    """When messages are refused that come every 10 ms from `first` on, with the stamps of a function of that time."""
    found = []
    for tick in range(round(seconds / PERIOD)):
        now = first + PERIOD * tick
        try:
            freshness.check(stamp_of(now), now)
        except InvalidInput:
            found.append(now)
    return found


@pytest.mark.parametrize("step", [3.0, 0.2, -0.2, -3.0, 1000.0, -1000.0])
def test_stream_whose_clock_was_set_is_taken_up_again_after_whoever_used_it_has_stopped(step: float) -> None:
    freshness = Freshness(TIMEOUT)
    assert refused(freshness, lambda now: now + 50.0, 0.0, 10.0) == []
    after = refused(freshness, lambda now: now + 50.0 + step, 10.0, 100.0)
    assert after[0] == pytest.approx(10.0)
    assert after[-1] == pytest.approx(10.0 + TIMEOUT + RESTART, abs=0.03)
    assert len(after) == pytest.approx((after[-1] - after[0]) / PERIOD + 1)  # without a gap


def test_first_message_that_was_late_does_not_condemn_all_others() -> None:
    freshness = Freshness(TIMEOUT)
    freshness.check(0.0, 0.3)
    assert refused(freshness, lambda now: now, 0.31, 100.0)[-1] < 0.31 + TIMEOUT + RESTART + 0.03


def test_stream_that_has_only_become_later_is_never_taken_up() -> None:
    freshness = Freshness(TIMEOUT)
    assert refused(freshness, lambda now: now, 0.0, 10.0) == []
    assert len(refused(freshness, lambda now: now - 0.5, 10.6, 100.0)) == 10_000


def test_repeated_message_is_never_taken_up() -> None:
    freshness = Freshness(TIMEOUT)
    freshness.check(5.0, 0.0)
    assert len(refused(freshness, lambda now: 5.0, 0.01, 100.0)) == 10_000
    assert len(refused(freshness, lambda now: 4.0, 100.0, 100.0)) == 10_000


def test_stamps_that_jump_to_and_fro_are_never_taken_up() -> None:
    freshness = Freshness(TIMEOUT)
    assert refused(freshness, lambda now: now, 0.0, 10.0) == []
    last = refused(freshness, lambda now: now + (3.0 if now % 0.5 < 0.25 else 6.0), 10.0, 100.0)
    assert len(last) == 10_000


def test_a_good_message_in_between_ends_the_waiting() -> None:
    freshness = Freshness(TIMEOUT)
    assert refused(freshness, lambda now: now, 0.0, 10.0) == []
    last = refused(freshness, lambda now: now + (3.0 if now % 1.0 < 0.9 else 0.0), 10.0, 100.0)
    assert len(last) >= 8_900
