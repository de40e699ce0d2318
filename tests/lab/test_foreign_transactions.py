"""Somebody else's transactions, which keep the kernel's nftables busy for seconds: nobody can commit anything meanwhile."""
import threading
import time

import pytest

from lab import addresses, is_fake, wait_for
from sets import Others

LONGER_THAN_A_HEARTBEAT_S = 4
SIZES = [200_000, 400_000, 800_000]


def loads(lab, while_it_lasts):
    """Somebody loads a set, a larger one until that takes long enough; how long it took, what was seen meanwhile."""
    for n in SIZES:
        with Others(lab, n) as others:
            ended = []

            def load(others=others, ended=ended):
                start = time.monotonic()
                others.load()
                ended.append(time.monotonic() - start)
            thread = threading.Thread(target=load)
            thread.start()
            seen = []
            while thread.is_alive():
                seen.append(while_it_lasts())
            thread.join()
            if ended and ended[0] > LONGER_THAN_A_HEARTBEAT_S:
                return ended[0], seen
    pytest.fail(f"{SIZES[-1]} elements are loaded too fast to tell anything")


def test_queries_stay_ours(gateway, lab):
    gw = gateway()

    def ask():
        time.sleep(0.02)
        try:
            return addresses(lab.ask("web.test", server="8.8.8.8"))
        except TimeoutError:
            return None
    wait_for(lambda: is_fake(ask() or []), "interception")
    took, answers = loads(lab, ask)
    print(f"{len(answers)} answers in {took:.1f} s")
    assert len(answers) > 50
    assert all(answer and is_fake(answer) for answer in answers), answers
    assert "lapsed" not in gw.log()
