"""Whether a stream of stamped messages is alive: not old, not repeated, not jumping in time, not frozen.

The clocks of robot and computer need not agree. What is known is that no message arrives before it is sent, so the
quickest message of the last minutes tells their difference, and a message is late by how much longer it took.

A clock that is set, or a first message that was itself late, makes all others seem to come from another time. They are
refused until whoever lives on the stream has stopped for want of it; if they have agreed with each other for so long,
the stream goes on with them, so that a person may start again. Messages that have only become later might be just that,
old, and are refused for good.
"""

from __future__ import annotations

import math

from robot_rl.errors import InvalidInput

_WINDOW = 60.0
"""s over which the quickest message is sought; longer would let clocks drift apart."""
REPEATS = "repeats the stamp of the message before"
"""Why a message is refused that a frozen driver sends, or a simulator that waits for a command."""
RESTART = 1.0
"""s, beyond the timeout, for which messages of another time must agree until the stream goes on with them."""


class _AnotherTime(InvalidInput):
    """What no delay explains: the sender's clock was set, or what we took for its time was wrong."""


class Transit:
    """How long messages of one topic take, as far as two clocks that do not agree can tell; all times in s."""

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._quickest = math.inf
        self._quickest_before = math.inf
        self._window_end = -math.inf

    @property
    def quickest(self) -> float:
        """Between the sender's clock at sending and ours at receiving; inf before the first message."""
        return min(self._quickest, self._quickest_before)

    def add(self, sent: float, received: float) -> None:
        """Takes in a message that was sent and received then, each by the clock of that side."""
        if received > self._window_end:
            self._quickest_before, self._quickest = self._quickest, math.inf
            self._window_end = received + _WINDOW
        self._quickest = min(self._quickest, received - sent)

    def arrival(self, sent: float, received: float) -> float:
        """Takes in a message; returns when, by our clock, it would have been received as quickly as the quickest."""
        self.add(sent, received)
        return sent + self.quickest


class Freshness:
    """Judges one topic's messages as they arrive; all times in s."""

    def __init__(self, timeout: float, paced: bool = True) -> None:
        """Makes a judge that has seen nothing yet.

        Args:
            timeout: s by which a message may be late, and during which a sensor that never rests may rest.
            paced: whether the sender's clock runs as fast as ours; a simulator's may not.
        """
        self._timeout = timeout
        self._paced = paced
        self._stamp = -math.inf
        self._transit = Transit()
        self._other: Freshness | None = None
        self._other_since = 0.0
        self._content: object = None
        self._content_since = -math.inf

    def check(self, stamp: float, received: float) -> float:
        """Takes in one message.

        Args:
            stamp: of the sender's clock.
            received: of our clock.

        Returns:
            How much longer it took than the quickest one; 0 where the sender is not paced.

        Raises:
            InvalidInput: it is old, repeats, or is from another time.
        """
        try:
            late = self._judge(stamp, received)
        except InvalidInput as error:
            if self._paced and self._restarts(stamp, received, isinstance(error, _AnotherTime)):
                return 0.0
            raise
        self._other = None
        return late

    def _restarts(self, stamp: float, received: float, of_another_time: bool) -> bool:
        """Whether the stream goes on with a message that was refused, and those refused before it."""
        if self._other is not None:
            try:
                self._other._judge(stamp, received)
            except InvalidInput:
                self._other = None
            else:
                if received - self._other_since < self._timeout + RESTART:
                    return False
                self._stamp, self._transit, self._other = self._other._stamp, self._other._transit, None
                return True
        if of_another_time:
            self._other, self._other_since = Freshness(self._timeout), received
            self._other._judge(stamp, received)
        return False

    def _judge(self, stamp: float, received: float) -> float:
        """As `check`, by what is known of this stream alone."""
        if stamp == self._stamp:
            raise InvalidInput(REPEATS)
        if stamp < self._stamp:
            raise _AnotherTime(f"is stamped {self._stamp - stamp:.3f} s before the message before")
        late = 0.0
        if self._paced:
            took = received - stamp
            quickest = self._transit.quickest
            if quickest < math.inf:
                if took < quickest - self._timeout:
                    raise _AnotherTime(f"is stamped {quickest - took:.3f} s ahead of the robot's clock so far")
                late = max(0.0, took - quickest)
                if late > self._timeout:
                    raise InvalidInput(f"is {late:.3f} s old")
            self._transit.add(stamp, received)
        self._stamp = stamp
        return late

    def check_moving(self, content: object, received: float) -> None:
        """Refuses a sensor that never rests, such as an IMU, when it gives the very same numbers for too long.

        Args:
            content: of the message, comparable.
            received: of our clock.

        Raises:
            InvalidInput: it has been the same for longer than the timeout.
        """
        if content != self._content:
            self._content, self._content_since = content, received
        elif received - self._content_since > self._timeout:
            raise InvalidInput(f"is frozen: the same numbers for {received - self._content_since:.3f} s")
