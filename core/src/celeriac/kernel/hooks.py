"""What distributions add to a program without being chosen by name: a few pluggy hooks, called at boot only.

A distribution names a module of hooks by an entry point of the group `celeriac.hooks`:

    [project.entry-points."celeriac.hooks"]
    hello = "celeriac_hello.hooks"

and the module implements any of the methods of `HookSpecs`, marked with `hookimpl`:

    from celeriac.kernel.hooks import hookimpl

    @hookimpl
    def celeriac_steps(blueprint):
        return [HelloStep] if blueprint == "worker" else []

Installing is not activating: `activate` imports a module of hooks only when a plugin of the same distribution was
chosen, or when its entry point is named in the setting `plugins`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

import pluggy

from celeriac.errors import ConfigurationError
from celeriac.kernel import plugins

if TYPE_CHECKING:
    import click

    from celeriac.kernel.graph import StepLike

__all__ = ["HookSpecs", "Hooks", "activate", "hookimpl"]

_PROJECT = "celeriac"
_TRACE = "CELERIAC_TRACE_HOOKS"

hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(_PROJECT)
"""Marks a function of a module of hooks as the implementation of the hook of the same name."""

_hookspec = pluggy.HookspecMarker(_PROJECT)


class HookSpecs:
    """Every hook. An implementation may leave out arguments that it does not use."""

    @_hookspec
    def celeriac_steps(self, app: Any, blueprint: str) -> list[StepLike]:  # type: ignore[empty-body]
        """Return steps to add to a blueprint.

        Called once per process for `worker`, before anything starts, and once for `consumer`.

        Args:
            app: The `Celeriac` that the worker runs; its settings are final.
            blueprint: `worker` (the whole process) or `consumer` (one generation of the broker connection).
        """

    @_hookspec
    def celeriac_settings(self) -> list[Any]:  # type: ignore[empty-body]
        """Return the settings that this distribution reads, as `celeriac.config.setting.Setting`."""

    @_hookspec
    def celeriac_worker_options(self) -> list[click.Option]:  # type: ignore[empty-body]
        """Return options to add to the command `celeriac worker`."""


class Hooks:
    """The active modules of hooks, each validated as it is registered.

    With CELERIAC_TRACE_HOOKS=1 in the environment each call is written to `trace`, by default standard error:
    names and numbers of results only, since arguments may hold secrets.
    """

    def __init__(self, *, trace: TextIO | None = None) -> None:
        self._manager = pluggy.PluginManager(_PROJECT)
        self._manager.add_hookspecs(HookSpecs)
        if os.environ.get(_TRACE) == "1":
            self._trace(trace or sys.stderr)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the registered modules, first registered first."""
        return tuple(name for name, module in self._manager.list_name_plugin() if module is not None)

    def register(self, module: ModuleType | object, name: str) -> None:
        """Add one module of hooks under the name of its entry point. A second time does nothing.

        Raises: ConfigurationError: it implements a hook that there is not, or with arguments that the hook does
            not have; nothing of it stays registered.
        """
        if self._manager.get_plugin(name) is module:
            return
        try:
            self._manager.register(module, name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._manager.get_plugin(name) is module:
                self._manager.unregister(name=name)
            known = ", ".join(sorted(hook for hook in vars(HookSpecs) if hook.startswith(_PROJECT)))
            raise ConfigurationError(
                f"The hooks {name!r} do not fit: {' '.join(str(error).split())}. The hooks are: {known}."
            ) from error

    def steps(self, app: Any, blueprint: str) -> list[StepLike]:
        """Return what all `celeriac_steps` return, for `Graph`, which validates each step."""
        return self._collect("celeriac_steps", app=app, blueprint=blueprint)

    def settings(self) -> list[Any]:
        """Return what all `celeriac_settings` return."""
        return self._collect("celeriac_settings")

    def worker_options(self) -> list[click.Option]:
        """Return what all `celeriac_worker_options` return."""
        return self._collect("celeriac_worker_options")

    def _collect(self, hook: str, **arguments: Any) -> list[Any]:
        caller = getattr(self._manager.hook, hook)
        collected: list[Any] = []
        # pluggy calls the last registered first; what users see should follow the order of registration.
        for returned in reversed(caller(**arguments)):
            if not isinstance(returned, list | tuple):
                suspects = ", ".join(sorted(impl.plugin_name for impl in caller.get_hookimpls()))
                raise ConfigurationError(f"Hook {hook} must return a list; one of {suspects} returned {returned!r}.")
            collected += returned
        return collected

    def _trace(self, stream: TextIO) -> None:
        def before(hook: str, impls: Sequence[pluggy.HookImpl], arguments: Mapping[str, Any]) -> None:
            given = ", ".join(arguments)
            stream.write(f"celeriac hook {hook}({given}): {', '.join(impl.plugin_name for impl in impls) or 'none'}\n")

        def after(outcome: pluggy.Result[Any], hook: str, _impls: object, _arguments: object) -> None:
            failed = outcome.exception
            said = f"raised {type(failed).__name__}" if failed else f"{len(outcome.get_result())} results"
            stream.write(f"celeriac hook {hook}: {said}\n")

        self._manager.add_hookcall_monitoring(before, after)


def activate(chosen: Iterable[tuple[str, str]] = (), named: Iterable[str] = ()) -> Hooks:
    """Import and register the modules of hooks that this program activates, by name.

    Args:
        chosen: Kind and name of each plugin that the program uses; the hooks of their distributions are active.
        named: The setting `plugins`: names of entry points of the group `celeriac.hooks`.

    Raises: UnknownPlugin: no such plugin or hooks. MissingDependency: a module cannot be imported.
        ConfigurationError: it does not fit.
    """
    wanted = {plugins.info("hooks", name).name for name in named}
    distributions = {plugins.info(kind, name).distribution for kind, name in chosen}
    wanted |= {plugin.name for plugin in plugins.installed("hooks") if plugin.distribution in distributions}
    hooks = Hooks()
    for name in sorted(wanted):
        hooks.register(plugins.load("hooks", name), name)
    return hooks
