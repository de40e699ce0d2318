"""The only way to wait in a test: a poll with an end."""
import time

PATIENCE_S = 10  # for what should happen at once; a loaded machine takes longer


def wait_for(condition, what, timeout_s=PATIENCE_S):
    """The first true value of condition(), polled; fails with `what` when it does not come."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout_s} s still not: {what}")
        time.sleep(0.02)
