import contextlib
import os
import re
import signal

import pytest
from _pytest.runner import runtestprotocol

pytest.register_assert_rewrite("lab", "far_ends")
import lab as lab_module  # noqa: E402: after the line above
from waiting import held_up  # noqa: E402

# A test of times (mark `by_the_clock`: which of two servers was the quicker one, what came within 75 ms) that failed while
# its programs stood in line for a processor for longer than this has measured the machine, and is made again.
HELD_UP_S, TIMES = 0.1, 4
made_again = pytest.StashKey[list]()


def pytest_configure(config):
    config.addinivalue_line("markers", "by_the_clock: fails on a machine that has no time for it, and is made again then")
    config.stash[made_again] = []
    # A shell starts background jobs with SIGINT ignored, and the programs that we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Who measures, and what is measured, go before what else this machine does.
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    if os.geteuid() != 0:
        pytest.exit("the lab tests need root: they make network namespaces, nft tables and TUN devices", 2)
    if not os.access(lab_module.PROGRAM, os.X_OK):
        pytest.exit(f"{lab_module.PROGRAM} is not there: build it, or name it by TUNGATE", 2)


def pytest_runtest_protocol(item, nextitem):
    if not item.get_closest_marker("by_the_clock"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for time in range(TIMES):
        before_s = held_up.total_s()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        held_up_s = held_up.total_s() - before_s
        if time == TIMES - 1 or held_up_s < HELD_UP_S or not any(report.failed for report in reports):
            break
        why = next(report.longreprtext.strip().splitlines()[-1] for report in reports if report.failed)
        item.config.stash[made_again].append(f"{item.nodeid}, held up for {held_up_s:.2f} s: {why}")
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash[made_again]:
        terminalreporter.write_line(f"made again: {line}")


@pytest.fixture(scope="module")
def lab(request):
    short = re.sub("^test_", "", request.module.__name__.rsplit(".", 1)[-1])[:6]
    the_lab = lab_module.Lab(short)
    yield the_lab
    the_lab.close()


class _Maker:
    def __init__(self, the_lab):
        self.lab, self.made = the_lab, []

    def __call__(self, config=None, intercept=None, **options):
        # Before it is started, so that one that does not become ready is ended too.
        gateway = lab_module.Gateway.__new__(lab_module.Gateway)
        gateway.process = None
        self.made.append(gateway)
        gateway.__init__(self.lab, config, intercept, **options)
        return gateway

    def finish(self):
        troubles = []
        for gateway in reversed(self.made):
            if gateway.process is None:
                continue
            try:
                if gateway.running():
                    gateway.stop()
            except BaseException as trouble:  # the others are to be ended all the same
                troubles.append(trouble)
            finally:
                if gateway.running():
                    gateway.kill()
            print(f"--- log of {gateway.config_file.name}:\n{gateway.log()}")
        self.made.clear()
        if troubles:
            raise troubles[0]


@pytest.fixture
def gateway(lab):
    maker = _Maker(lab)
    yield maker
    try:
        maker.finish()
    finally:
        lab.end_processes()


@pytest.fixture
def gateway_of_its_own(gw, gateway):
    """As `gateway`; the one of the module, `gw`, pauses."""
    gw.stop()
    yield gateway
    for other in gateway.made:
        if other.running():
            other.stop()
    gw.start()


@pytest.fixture(scope="module")
def module_gateway(lab):
    maker = _Maker(lab)
    yield maker
    maker.finish()
