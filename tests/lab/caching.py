"""What tests of the cache share: a configuration of real answers over one scripted upstream, and looks at what is kept."""
import contextlib

import pytest

from lab import wait_for
from scripted import Scripted
from waiting import moment


def real_rule(**more):
    return {"name": "all", "answer": "real", "upstream": "wan", **more}


def over(up, cache=None, rules=None, **more):
    """All names get real answers from up, by one worker, unless told otherwise."""
    config = {"gateway": {"workers": 1}, "upstreams": {"wan": {"servers": [up.udp]}},
              "rules": rules or [real_rule()]}
    if cache is not None:
        config["cache"] = cache
    for key, value in more.items():
        config[key] = {**config.get(key, {}), **value}
    return config


@pytest.fixture
def up(lab):
    the_up = Scripted(lab)
    yield the_up
    the_up.end()


def cached(gw, name):
    """{type: entry of cache.show} of a name; for keys with DO, CD or of other views the last one."""
    return {entry["type"]: entry for entry in gw.result("cache.show", name=name)}


def stats(gw):
    return gw.status()["cache"]


def state(gw, name, **how):
    return gw.result("explain", name=name, **how)["cache"]


def wait_stale(gw, name, rdtype="A"):
    wait_for(lambda: cached(gw, name)[rdtype]["state"] == "stale", f"{name} is past its TTL")


def wait_gone(gw, name, rdtype="A"):
    """Its TTL is over, and with serve_stale off it is told no more."""
    wait_for(lambda: rdtype not in cached(gw, name), f"{name} is past its TTL")


def questions(up, name=None):
    """What upstream was asked, in order; what was sent again, because it was slow, counts once."""
    first = {}
    for query in up.queries(name=name):
        first.setdefault((query["name"].lower(), query["type"], query["id"]), query)
    return list(first.values())


def asked(up, name):
    """The types that upstream was asked for by that name, in order."""
    return [query["type"] for query in questions(up, name)]


@contextlib.contextmanager
def taking(least_s, most_s):
    """What is done within takes so long."""
    began = moment()
    yield
    took = moment() - began
    assert least_s <= took <= most_s, f"it took {took:.3f} s"
