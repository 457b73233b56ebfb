"""What could be installed, by the metadata of the umbrella distribution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.errors import MissingDependency, UnknownPlugin
from celeriac.kernel import plugins

Install = Callable[..., Path]

UMBRELLA = {
    "entry_points": {
        "celeriac.extras": {"transport.redis": "redis", "transport.sentinel": "redis", "pool.gevent": "gevent"}
    },
    "requires": [
        "celeriac-core==1.0",
        'celeriac_gevent>=1.0 ; extra == "gevent"',
        "celeriac-redis==1.0; extra == 'redis'",
        "celeriac-sqs==1.0; extra == 'sqs'",
    ],
}


def unknown(kind: str, name: str) -> tuple[str, str | None]:
    with pytest.raises(UnknownPlugin) as caught:
        plugins.find(kind, name)
    return str(caught.value), caught.value.extra


def test_an_unknown_plugin_names_the_extra_that_brings_it(install: Install) -> None:
    install("celeriac", **UMBRELLA)

    assert unknown("transport", "sentinel") == (
        "No transport 'sentinel'. It is not installed; run: pip install 'celeriac[redis]'. Installed: none.",
        "redis",
    )
    assert unknown("transport", "redis+socket")[1] == "redis"


def test_a_misspelt_plugin_that_is_not_installed_names_both(install: Install) -> None:
    install("celeriac", **UMBRELLA)

    said, extra = unknown("transport", "reddis")

    assert "Did you mean 'redis'? It is not installed; run: pip install 'celeriac[redis]'." in said
    assert extra == "redis"


def test_an_extra_that_does_not_say_what_it_brings_may_bring_its_own_name(install: Install) -> None:
    install("celeriac", **UMBRELLA)

    assert unknown("transport", "sqs")[1] == "sqs"
    assert unknown("pool", "redis")[1] is None


def test_an_extra_that_is_installed_is_not_the_fix(install: Install) -> None:
    install("celeriac", **UMBRELLA)
    install("celeriac-redis", {"celeriac.transports": {"redis": "x:y"}})

    assert unknown("transport", "sentinel") == ("No transport 'sentinel'. Installed: redis.", None)


def test_without_the_umbrella_no_extra_is_named(site: Path) -> None:
    assert unknown("transport", "redis") == ("No transport 'redis'. Installed: none.", None)


def test_a_part_of_an_extra_is_reinstalled_by_the_extra(install: Install) -> None:
    install("celeriac", **UMBRELLA)
    install("celeriac-redis", {"celeriac.transports": {"redis": "not_there:transport"}})

    with pytest.raises(MissingDependency, match=r"Run: pip install --force-reinstall 'celeriac\[redis\]'\."):
        plugins.find("transport", "redis")
