"""What the other tests measure and wait by; and that a far end hangs up without harm to the test's own descriptors."""
import contextlib
import os
import socket
import threading
import time

import pytest

from proxies import disconnect
from sets import end_forked, forked
from waiting import Took, moment, wait_for


def test_waiting_in_line_does_not_count_against_a_limit():
    slow = Took(3.0, held_up_s=2.5)
    assert slow < 0.6 and slow <= 0.5 and not slow < 0.4  # what is to be quick
    assert slow > 2.9 and slow >= 3.0 and not slow > 3.1  # what is to last
    assert max(Took(3.0, held_up_s=2.5), Took(1.0)) == 1.0 == sorted([Took(1.0), Took(3.0, held_up_s=2.5)])[1]
    assert not Took(1.0, held_up_s=7) < 0


def spin():
    while True:
        pass


def test_what_stood_in_line_is_seen():
    """Several at a time want one processor."""
    mine, children = os.sched_getaffinity(0), []
    os.sched_setaffinity(0, {min(mine)})
    try:
        children += [forked(spin) for _ in range(3)]
        began = moment()
        wait_for(lambda: (took := moment() - began) - took.own_s > 0.3, "it is seen")
    finally:
        os.sched_setaffinity(0, mine)
        end_forked(*children)


def test_a_wait_has_an_end_and_asks_again():
    answers = iter([TimeoutError, False, "here"])

    def ask():
        answer = next(answers)
        if answer is TimeoutError:
            raise TimeoutError
        return answer
    assert wait_for(ask, "an answer") == "here"
    with pytest.raises(AssertionError, match="the moon"):
        wait_for(lambda: False, "the moon", 0.1)


def test_a_far_end_that_hangs_up_wakes_its_thread_and_resets():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    far.settimeout(60)
    ended = []

    def read():
        with far, contextlib.suppress(OSError):
            far.recv(1)
        ended.append(time.monotonic())
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    began = time.monotonic()
    with client:
        disconnect(far)
        client.settimeout(30)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    thread.join(30)
    assert ended and ended[0] - began < 30
