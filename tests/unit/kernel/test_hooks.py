"""Hooks: validated as they are registered, active only when asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from celeriac.errors import ConfigurationError, MissingDependency, UnknownPlugin
from celeriac.kernel.hooks import Hooks, HookSpecs, activate, hookimpl
from celeriac.kernel.steps import Boot, Step

Install = Callable[..., Path]


class Hello(Step):
    name = "hello"

    def start(self, boot: Boot) -> None: ...


class Worker:
    """Hooks of every kind."""

    @hookimpl
    def celeriac_steps(self, blueprint: str) -> list[type[Step]]:
        return [Hello] if blueprint == "worker" else []

    @hookimpl
    def celeriac_settings(self) -> list[Any]:
        return ["a setting"]

    @hookimpl
    def celeriac_worker_options(self) -> list[click.Option]:
        return [click.Option(["--hello"])]


class Silent:
    """Hooks that have nothing to say."""

    @hookimpl
    def celeriac_settings(self) -> None:
        return None


def settings(*values: object) -> object:
    def celeriac_settings() -> object:
        return list(values)

    return SimpleNamespace(celeriac_settings=hookimpl(celeriac_settings))


def test_each_hook_gives_what_its_implementations_return() -> None:
    hooks = Hooks()

    hooks.register(Worker(), "worker")

    assert hooks.steps(app=object(), blueprint="worker") == [Hello]
    assert hooks.steps(app=object(), blueprint="consumer") == []
    assert hooks.settings() == ["a setting"]
    assert [option.name for option in hooks.worker_options()] == ["hello"]


def test_without_hooks_there_is_nothing() -> None:
    hooks = Hooks()

    assert hooks.names == ()
    assert hooks.steps(app=None, blueprint="worker") == []


def test_results_come_in_the_order_of_registration() -> None:
    hooks = Hooks()

    hooks.register(settings("a", "b"), "second-by-name")
    hooks.register(Silent(), "silent")
    hooks.register(settings("c"), "first-by-name")

    assert hooks.names == ("second-by-name", "silent", "first-by-name")
    assert hooks.settings() == ["a", "b", "c"]


def test_registering_twice_counts_once() -> None:
    hooks = Hooks()
    module = settings("a")

    hooks.register(module, "same")
    hooks.register(module, "same")

    assert hooks.settings() == ["a"]


class Misspelt:
    @hookimpl
    def celeriac_step(self, blueprint: str) -> list[type[Step]]:
        return []

    @hookimpl
    def celeriac_settings(self) -> list[Any]:
        return ["a setting"]


class WrongArgument:
    @hookimpl
    def celeriac_steps(self, worker: object) -> list[type[Step]]:
        return []


@pytest.mark.parametrize(
    ("module", "problem"),
    [(Misspelt(), "unknown hook 'celeriac_step'"), (WrongArgument(), "{'worker'} are declared in the hookimpl")],
)
def test_hooks_that_do_not_fit_are_refused_and_do_not_stay(module: object, problem: str) -> None:
    hooks = Hooks()

    with pytest.raises(ConfigurationError, match="The hooks 'broken' do not fit: ") as caught:
        hooks.register(module, "broken")

    assert problem in str(caught.value)
    assert str(caught.value).endswith("The hooks are: celeriac_settings, celeriac_steps, celeriac_worker_options.")
    assert hooks.names == ()
    assert hooks.settings() == []


def test_two_modules_cannot_share_a_name() -> None:
    hooks = Hooks()
    hooks.register(settings("first"), "same")

    with pytest.raises(ConfigurationError, match="The hooks 'same' do not fit"):
        hooks.register(settings("second"), "same")

    assert hooks.settings() == ["first"]


def test_a_hook_that_returns_no_list_is_refused_by_name() -> None:
    class OneStep:
        @hookimpl
        def celeriac_steps(self) -> type[Step]:
            return Hello

    hooks = Hooks()
    hooks.register(OneStep(), "one-step")

    with pytest.raises(ConfigurationError, match=r"celeriac_steps must return a list; one of one-step returned <class"):
        hooks.steps(app=None, blueprint="worker")


def test_what_a_hook_raises_is_what_the_caller_gets() -> None:
    class Failing:
        @hookimpl
        def celeriac_settings(self) -> list[Any]:
            raise OSError("disk")

    hooks = Hooks()
    hooks.register(Failing(), "failing")

    with pytest.raises(OSError, match="disk"):
        hooks.settings()


def test_calls_are_traced_on_request_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @hookimpl
        def celeriac_settings(self) -> list[Any]:
            raise OSError("disk")

    monkeypatch.setenv("CELERIAC_TRACE_HOOKS", "1")
    trace = io.StringIO()
    hooks = Hooks(trace=trace)
    hooks.worker_options()
    hooks.register(Worker(), "worker")
    hooks.steps(app="secret", blueprint="worker")
    hooks.register(Failing(), "failing")

    with pytest.raises(OSError, match="disk"):
        hooks.settings()

    assert trace.getvalue().splitlines() == [
        "celeriac hook celeriac_worker_options(): none",
        "celeriac hook celeriac_worker_options: 0 results",
        "celeriac hook celeriac_steps(app, blueprint): worker",
        "celeriac hook celeriac_steps: 1 results",
        "celeriac hook celeriac_settings(): worker, failing",
        "celeriac hook celeriac_settings: raised OSError",
    ]


def test_calls_are_traced_on_standard_error_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CELERIAC_TRACE_HOOKS", "1")

    Hooks().settings()

    assert capsys.readouterr().err.startswith("celeriac hook celeriac_settings(): none\n")


def test_every_hook_is_documented_by_its_specification() -> None:
    hooks = [value for name, value in vars(HookSpecs).items() if name.startswith("celeriac_")]

    assert len(hooks) == 3
    assert all(hook.__doc__ for hook in hooks)
    assert all(hook(HookSpecs(), **dict.fromkeys(arguments(hook))) is None for hook in hooks)


def arguments(function: Callable[..., Any]) -> list[str]:
    code = function.__code__
    return list(code.co_varnames[1 : code.co_argcount])


# -- activation ------------------------------------------------------------------------------------

MODULE = """
from celeriac.kernel.hooks import hookimpl

@hookimpl
def celeriac_settings():
    return [__name__]
"""


@pytest.fixture
def two(install: Install) -> None:
    """Install acme, which brings a pool and hooks, and zeta, which brings hooks only."""
    install(
        "acme",
        {"celeriac.pools": {"fast": "x:y"}, "celeriac.hooks": {"acme": "fake_acme_hooks"}},
        modules={"fake_acme_hooks": MODULE},
    )
    install("zeta", {"celeriac.hooks": {"zeta": "fake_zeta_hooks"}}, modules={"fake_zeta_hooks": MODULE})


@pytest.mark.usefixtures("two")
def test_installing_is_not_activating() -> None:
    assert activate().names == ()
    assert "fake_acme_hooks" not in sys.modules


@pytest.mark.usefixtures("two")
def test_choosing_a_plugin_activates_the_hooks_of_its_distribution() -> None:
    hooks = activate(chosen=[("pool", "fast")])

    assert hooks.settings() == ["fake_acme_hooks"]
    assert "fake_zeta_hooks" not in sys.modules


@pytest.mark.usefixtures("two")
def test_hooks_are_activated_by_name_each_once_and_in_the_same_order() -> None:
    hooks = activate(chosen=[("pool", "fast")], named=["zeta", "acme"])

    assert hooks.names == ("acme", "zeta")
    assert hooks.settings() == ["fake_acme_hooks", "fake_zeta_hooks"]


@pytest.mark.usefixtures("two")
def test_naming_hooks_that_are_not_installed_is_refused() -> None:
    with pytest.raises(UnknownPlugin, match=r"No hooks 'acne'\. Did you mean 'acme'\?"):
        activate(named=["acne"])


def test_a_module_of_hooks_that_cannot_be_imported_is_named(install: Install) -> None:
    install("acme", {"celeriac.hooks": {"acme": "not_there"}})

    with pytest.raises(MissingDependency, match="The hooks 'acme' cannot be loaded: No module named 'not_there'"):
        activate(named=["acme"])
