"""The pages on Redis name every option with its default, every scheme, and the rights that the contracts pass with."""

from __future__ import annotations

import re
import tomllib

import pytest
from tree import ROOT

from celeriac.kernel import plugins

pytest.importorskip("celeriac_redis.plugin")
from celeriac_redis.plugin import RESULT_OPTIONS, TRANSPORT_OPTIONS

REFERENCE = (ROOT / "docs/reference/redis.md").read_text()
GUIDE = (ROOT / "docs/how-to/run-on-redis.md").read_text()


def test_each_option_has_one_line_with_its_default():
    told = {}
    for names, default in re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \| (`[^`]+`|empty) \| [^|]+ \|$", REFERENCE):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in told
            told[name] = "" if default == "empty" else default.strip("`")

    options = {**TRANSPORT_OPTIONS, **RESULT_OPTIONS}
    assert told == {name: str(option.default) for name, option in options.items()}


def test_each_scheme_is_among_the_addresses():
    groups = tomllib.loads((ROOT / "bundles/redis/pyproject.toml").read_text())["project"]["entry-points"]

    told = set(re.findall(r"`([a-z+]+)://", REFERENCE))

    assert set(groups["celeriac.transports"]) == set(groups["celeriac.results"]) == told
    assert told <= set(plugins.names("transport"))


def test_the_rights_are_those_that_the_contracts_pass_with():
    pytest.importorskip("redis")
    from redis_places import WORKER_RIGHTS  # noqa: PLC0415  needs the driver

    assert f"ACL SETUSER worker on >secret {' '.join(WORKER_RIGHTS)}\n" in GUIDE
