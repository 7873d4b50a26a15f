"""The queue in shared memory: order, its end, what is kept, and what a torn record does."""

import multiprocessing

import numpy as np
import pytest

from robot_rl.training.ring import Ring

SPAWN = multiprocessing.get_context("spawn")
FIELDS = [("values", np.float64, (50,)), ("mark", np.int64)]


def push(ring: Ring, number: int) -> bool:
    return ring.push(values=np.full(50, float(number)), mark=number)


def write_many(ring: Ring, count: int) -> None:
    """In another process: every record has one number everywhere."""
    for number in range(count):
        while not push(ring, number):
            pass


@pytest.fixture
def ring() -> Ring:
    return Ring(FIELDS, 4, SPAWN)


def test_records_come_out_in_the_order_in_which_they_went_in(ring: Ring):
    for number in range(3):
        assert push(ring, number)
    assert ring.pull(2)["mark"].tolist() == [0, 1]
    assert ring.pull(9)["mark"].tolist() == [2]
    assert len(ring.pull(9)) == 0


def test_a_full_ring_takes_nothing_and_loses_nothing(ring: Ring):
    assert [push(ring, number) for number in range(6)] == [True] * 4 + [False] * 2
    assert ring.pull(9)["mark"].tolist() == [0, 1, 2, 3]
    assert push(ring, 6)
    assert ring.pull(9)["mark"].tolist() == [6]


def test_what_was_read_is_kept_until_it_is_written_over(ring: Ring):
    for number in range(4):
        push(ring, number)
    ring.pull(9)
    push(ring, 4)
    assert ring.kept(0)["mark"].tolist() == [1, 2, 3, 4]
    assert ring.kept(3)["mark"].tolist() == [3, 4]


def test_a_record_that_is_counted_but_not_whole_is_not_taken_yet(ring: Ring):
    push(ring, 0)
    push(ring, 1)
    whole = ring._records[1].copy()
    ring._records["values"][1][7] += 1.0  # as if the other processor's write had not arrived
    assert ring.pull(9)["mark"].tolist() == [0]
    ring._records[1] = whole
    assert ring.pull(9)["mark"].tolist() == [1]


def test_a_record_of_the_round_before_is_not_taken_for_a_new_one(ring: Ring):
    for number in range(4):
        push(ring, number)
    ring.pull(9)
    old = ring._records[0].copy()
    push(ring, 4)
    ring._records[0] = old  # whole, with a right checksum, and yet not number 4
    assert len(ring.pull(9)) == 0


def test_between_two_processes_every_record_arrives_once_and_whole():
    ring, count = Ring(FIELDS, 16, SPAWN), 3000
    writer = SPAWN.Process(target=write_many, args=(ring, count))
    writer.start()
    marks: list[int] = []
    while len(marks) < count:
        rows = ring.pull(7)
        assert (rows["values"] == rows["mark"][:, None]).all()
        marks += rows["mark"].tolist()
        assert len(rows) or writer.is_alive()
    writer.join()
    assert marks == list(range(count))
