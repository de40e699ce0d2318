import os
import re
import signal

import pytest

pytest.register_assert_rewrite("lab", "far_ends")
import lab as lab_module  # noqa: E402: after the line above


def pytest_configure(config):
    # A shell starts background jobs with SIGINT ignored, and the programs that we start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() != 0:
        pytest.exit("the lab tests need root: they make network namespaces, nft tables and TUN devices", 2)
    if not os.access(lab_module.PROGRAM, os.X_OK):
        pytest.exit(f"{lab_module.PROGRAM} is not there: build it, or name it by TUNGATE", 2)


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
