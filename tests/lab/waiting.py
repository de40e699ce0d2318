"""Waiting and measuring on a machine that has others to serve, too.

wait_for() is the only way to wait: a poll with an end. What took how long is told by moment() - moment(): a Took."""
import contextlib
import os
import threading
import time

PATIENCE_S = 30  # for what should happen at once: a loaded machine takes longer


class HeldUp:
    """How long the threads of some programs, ours among them, have stood in line for a processor, all together."""

    def __init__(self):
        self._pids, self._seen_ns, self._total_ns = {os.getpid()}, {}, 0
        self._lock = threading.Lock()

    def follow(self, pid):
        self._pids.add(int(pid))

    def leave(self, pid):
        self._pids.discard(int(pid))

    def total_s(self):
        with self._lock:
            for pid in list(self._pids):
                self._add(pid)
            return self._total_ns / 1e9

    def _add(self, pid):
        """Half a millisecond for six programs. One that has ended keeps what it had."""
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
                    waited_ns = int(file.read().split()[1])
                self._total_ns += max(0, waited_ns - self._seen_ns.get(thread, 0))
                self._seen_ns[thread] = waited_ns
        except (OSError, IndexError):
            pass  # it ends, or this kernel does not tell


held_up = HeldUp()


class Took(float):
    """Seconds by the clock. Asked whether they are less than a limit, those do not count in which the programs of the test
    stood in line for a processor; asked whether they are more, all do."""

    def __new__(cls, seconds, held_up_s=0):
        self = super().__new__(cls, seconds)
        self.own_s = max(0.0, seconds - held_up_s)
        return self

    def __lt__(self, limit):
        return self.own_s < getattr(limit, "own_s", limit)

    def __le__(self, limit):
        return self.own_s <= getattr(limit, "own_s", limit)

    def __gt__(self, other):
        return self.own_s > other.own_s if isinstance(other, Took) else float(self) > other

    def __ge__(self, other):
        return self.own_s >= other.own_s if isinstance(other, Took) else float(self) >= other

    __hash__ = float.__hash__


class Moment:
    def __init__(self):
        self.held_up_s = held_up.total_s()
        self.at_s = time.monotonic()

    def __sub__(self, earlier):
        return Took(self.at_s - earlier.at_s, self.held_up_s - earlier.held_up_s)


def moment():
    return Moment()


def wait_for(condition, what, timeout_s=PATIENCE_S):
    """The first true value of condition(), polled; fails with `what` when it does not come. A question in it that gets no
    answer in time is asked again."""
    began = moment()
    end_s = began.at_s + timeout_s
    while True:
        with contextlib.suppress(TimeoutError):
            value = condition()
            if value:
                return value
        if time.monotonic() > end_s:
            left_s = timeout_s - (moment() - began).own_s
            if left_s <= 0:
                raise AssertionError(f"after {timeout_s} s still not: {what}")
            end_s = time.monotonic() + left_s
        time.sleep(0.02)
