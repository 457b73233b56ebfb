"""Discovery: what is installed, what could be, and the one that is chosen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from celeriac.errors import ConfigurationError, IncompatiblePlugin, MissingDependency, UnknownPlugin
from celeriac.kernel import plugins

Install = Callable[..., Path]

REDIS = """
from celeriac.spi.declaration import Declaration

transport = Declaration(
    spi_version=1, target="fake_redis_driver:Transport", summary="Redis", capabilities=["delay"], fix="Run: x."
)
future = Declaration(target="fake_redis_driver:Transport", summary="Redis", spi_version=99)
wrong = {"not": "a declaration"}
"""
DRIVER = "class Transport: ..."


def redis(install: Install, *, entries: dict[str, str] | None = None, driver: bool = True) -> None:
    modules = {"fake_redis_plugin": REDIS} | ({"fake_redis_driver": DRIVER} if driver else {})
    transports = entries or {"redis": "fake_redis_plugin:transport"}
    install("celeriac-redis", {"celeriac.transports": transports}, modules=modules)


def shown(found: list[plugins.PluginInfo]) -> list[tuple[str, str, str, str]]:
    return [(plugin.kind, plugin.name, plugin.distribution, plugin.version) for plugin in found]


def test_plugins_are_listed_by_kind_and_name(install: Install) -> None:
    install("Zoo_Keeper", {"celeriac.pools": {"z": "x:y", "a": "x:y"}, "celeriac.transports": {"t": "x:y"}})
    install("other", {"console_scripts": {"a": "b:c"}, "celeriac.nonsense": {"a": "b:c"}}, version="2.5")
    install("acme", {"celeriac.pools": {"m": "x:y"}}, version="3.0")
    install("without-entry-points")

    assert shown(plugins.installed()) == [
        ("transport", "t", "zoo-keeper", "1.0"),
        ("pool", "a", "zoo-keeper", "1.0"),
        ("pool", "m", "acme", "3.0"),
        ("pool", "z", "zoo-keeper", "1.0"),
    ]
    assert plugins.names("pool") == ["a", "m", "z"]
    assert shown(plugins.installed("transport")) == [("transport", "t", "zoo-keeper", "1.0")]


def test_listing_imports_nothing(install: Install) -> None:
    redis(install)

    found = plugins.info("transport", "redis")

    assert repr(found) == "<transport 'redis' of celeriac-redis 1.0>"
    assert "fake_redis_plugin" not in sys.modules


def test_finding_imports_the_declaration_and_not_the_driver(install: Install) -> None:
    redis(install)

    found = plugins.find("transport", "redis")

    assert (found.summary, found.capabilities) == ("Redis", ["delay"])
    assert "fake_redis_plugin" in sys.modules
    assert "fake_redis_driver" not in sys.modules


def test_loading_gives_the_implementation(install: Install) -> None:
    redis(install)

    loaded = plugins.load("transport", "redis")

    assert loaded is sys.modules["fake_redis_driver"].Transport
    assert plugins.info("transport", "redis").error is None


def test_a_distribution_that_is_on_the_path_twice_counts_once(install: Install, tmp_path: Path) -> None:
    install("celeriac-redis", {"celeriac.pools": {"a": "x:y"}}, version="1.0")
    second = install("Celeriac.Redis", {"celeriac.pools": {"a": "x:y"}}, version="0.9")
    older = tmp_path / "older"
    older.mkdir()
    second.rename(older / second.name)
    sys.path.append(str(older))
    plugins.clear_cache()

    assert shown(plugins.installed()) == [("pool", "a", "celeriac-redis", "1.0")]


def test_what_is_installed_later_is_seen_after_clearing(install: Install) -> None:
    before = plugins.names("pool")

    install("acme", {"celeriac.pools": {"m": "x:y"}})

    assert before == []
    assert plugins.names("pool") == ["m"]


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"No kind of plugin 'pols'\. Did you mean 'pool'\? Kinds: transport,"):
        plugins.installed("pols")


def test_a_name_that_two_distributions_claim_is_refused(install: Install) -> None:
    install("acme", {"celeriac.pools": {"m": "x:y"}})
    install("zeta", {"celeriac.pools": {"m": "x:y"}})

    with pytest.raises(ConfigurationError, match=r"The pool 'm' is brought by acme and zeta\. Uninstall all but one"):
        plugins.find("pool", "m")
    assert plugins.names("pool") == ["m"]


def test_an_unknown_plugin_names_the_nearest_that_is_installed(install: Install) -> None:
    redis(install)

    with pytest.raises(UnknownPlugin) as caught:
        plugins.find("transport", "reddis")

    assert str(caught.value) == "No transport 'reddis'. Did you mean 'redis'? Installed: redis."
    assert caught.value.extra is None


# -- what is installed and does not work -----------------------------------------------------------


def test_a_missing_driver_is_named_with_the_declared_fix(install: Install) -> None:
    redis(install, driver=False)

    with pytest.raises(
        MissingDependency, match=r"'redis' cannot be loaded: No module named 'fake_redis_driver'\. Run: x"
    ):
        plugins.load("transport", "redis")
    found = plugins.info("transport", "redis")
    assert found.declaration is not None
    assert found.error is not None
    assert found.error.endswith("Run: x.")


@pytest.mark.parametrize("target", ["not_there:transport", "fake_redis_plugin:not_there"])
def test_a_declaration_that_cannot_be_imported_says_how_to_reinstall(install: Install, target: str) -> None:
    redis(install, entries={"redis": target})
    found = plugins.info("transport", "redis")

    assert found.declaration is None
    assert found.error is not None
    assert found.error.endswith("Run: pip install --force-reinstall celeriac-redis.")


def test_a_plugin_for_another_version_of_the_interfaces_is_refused(install: Install) -> None:
    redis(install, entries={"redis": "fake_redis_plugin:future"})

    with pytest.raises(IncompatiblePlugin, match=r"'redis \(celeriac-redis 1\.0\)' speaks interface version 99, not 1"):
        plugins.load("transport", "redis")
    assert plugins.find("transport", "redis").summary == "Redis"


def test_an_entry_point_that_names_no_declaration_is_refused(install: Install) -> None:
    redis(install, entries={"redis": "fake_redis_plugin:wrong"})

    with pytest.raises(ConfigurationError, match=r"'fake_redis_plugin:wrong' of celeriac-redis 1\.0 must name a Decl"):
        plugins.find("transport", "redis")


def test_a_plugin_that_breaks_on_import_does_not_break_the_listing(install: Install) -> None:
    redis(install)
    install("acme", {"celeriac.transports": {"broken": "fake_broken:x"}}, modules={"fake_broken": "1 / 0"})

    errors = {plugin.name: plugin.error for plugin in plugins.installed()}

    assert errors == {"redis": None, "broken": "ZeroDivisionError: division by zero"}


def test_kinds_without_declaration_are_loaded_as_they_are(install: Install) -> None:
    install("acme", {"celeriac.hooks": {"acme": "fake_acme_hooks"}}, modules={"fake_acme_hooks": "answer = 42"})

    assert plugins.load("hooks", "acme").answer == 42
    with pytest.raises(ConfigurationError, match=r"kind 'hooks' has no declaration\. Load 'acme' instead"):
        plugins.find("hooks", "acme")
