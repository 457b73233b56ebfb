"""`celeriac shell`: a Python shell with the app and its tasks at hand."""

from __future__ import annotations

import code
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import click

from celeriac.cli.output import note
from celeriac.cli.program import Program, pass_program
from celeriac.errors import ConfigurationError

__all__ = ["shell"]


@click.command()
@click.option("-I", "--ipython", "chosen", flag_value="ipython", help="IPython, or an error where it is not installed.")
@click.option("-B", "--bpython", "chosen", flag_value="bpython", help="bpython, or an error where it is not installed.")
@click.option("--python", "chosen", flag_value="python", help="Python's own.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not add the tasks by their names.")
@pass_program
def shell(program: Program, /, chosen: str | None, without_tasks: bool) -> None:
    """Open a shell with `app`, its tasks by their last name, and the public names of celeriac.

    Takes IPython or bpython where one is installed, else Python's own.
    """
    with program.app as app:
        app.import_modules()
        names = _names(app, tasks=not without_tasks)
        note(f"app is {app!r}; also here: {', '.join(sorted(set(names) - {'app'}))}")
        _shell(chosen)(names)


def _names(app: Any, *, tasks: bool) -> dict[str, Any]:
    import celeriac  # noqa: PLC0415  its names are loaded lazily, and only here all at once

    names = {name: getattr(celeriac, name) for name in vars(celeriac)["__all__"]}
    if tasks:
        for name, task in app.tasks.items():
            names.setdefault(name.rpartition(".")[2], task)
    return {**names, "app": app}


def _shell(chosen: str | None) -> Callable[[dict[str, Any]], None]:
    for name, start in (("ipython", _ipython), ("bpython", _bpython)):
        if chosen not in (None, name):
            continue
        module = _imported({"ipython": "IPython", "bpython": "bpython"}[name])
        if module is not None:
            return lambda names, start=start, module=module: start(module, names)  # type: ignore[misc]
        if chosen == name:
            raise ConfigurationError(f"{name} is not installed. Run: pip install {name}, or use --python.")
    return _python


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _ipython(module: Any, names: dict[str, Any]) -> None:
    module.start_ipython(argv=[], user_ns=names)


def _bpython(module: Any, names: dict[str, Any]) -> None:
    module.embed(names)


def _python(names: dict[str, Any]) -> None:
    try:
        import readline  # noqa: PLC0415  not on every system
        import rlcompleter  # noqa: PLC0415  as above
    except ImportError:
        pass
    else:
        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    code.interact(local=names, banner="", exitmsg="")
