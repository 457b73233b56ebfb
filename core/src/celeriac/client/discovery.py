"""Finding modules of tasks, and the app that a command line names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from celeriac.errors import ConfigurationError

__all__ = ["find_app", "import_related"]


def import_related(packages: Iterable[str], related_name: str | None) -> list[ModuleType]:
    """Import `<package>.<related_name>` of each package, or the package itself; one that does not exist is skipped.

    An error inside a module that exists is raised: a task module that cannot be imported must not vanish.
    """
    imported = []
    for package in packages:
        path = f"{package}.{related_name}" if related_name else package
        importlib.import_module(package)
        if importlib.util.find_spec(path) is not None:
            imported.append(importlib.import_module(path))
    return imported


def find_app(path: str, *, is_app: Callable[[Any], bool] | None = None) -> Any:
    """Return the app that `-A path` names.

    1. `module:attribute`, or the dotted path of an app.
    2. Of a module: its attribute `app`, else `celeriac`, else `celery`.
    3. Of a package: its module `celeriac` or `celery`, looked at in the same way.
    4. The only app among a module's attributes.

    Raises: ConfigurationError: it is not there; says where it was looked for.
    """
    found_app = is_app or _is_app
    found = _symbol(path)
    if found_app(found):
        return found
    if not isinstance(found, ModuleType):
        raise ConfigurationError(f"-A {path}: {found!r} is no Celeriac app. Name one: -A module:attribute.")
    app = _in_module(found, found_app)
    if app is None:
        raise ConfigurationError(
            f"-A {path}: the module {found.__name__!r} has no Celeriac app. It was looked for as `app`, `celeriac`,"
            f" `celery` and among all attributes. Name it: -A {found.__name__}:attribute."
        )
    return app


def _is_app(value: Any) -> bool:
    from celeriac.client.app import Celeriac  # noqa: PLC0415  the app imports this module

    return isinstance(value, Celeriac)


def _in_module(module: ModuleType, is_app: Callable[[Any], bool]) -> Any:
    for name in ("app", "celeriac", "celery"):
        if is_app(getattr(module, name, None)):
            return getattr(module, name)
    if hasattr(module, "__path__"):
        for name in ("celeriac", "celery"):
            path = f"{module.__name__}.{name}"
            if importlib.util.find_spec(path) is not None:
                inner = _in_module(importlib.import_module(path), is_app)
                if inner is not None:
                    return inner
    apps = {id(value): value for value in vars(module).values() if is_app(value)}
    if len(apps) > 1:
        raise ConfigurationError(
            f"The module {module.__name__!r} has {len(apps)} apps. Name one: -A {module.__name__}:attribute."
        )
    return next(iter(apps.values()), None)


def _symbol(path: str) -> Any:
    module_name, colon, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only a missing part of the path itself is ours to report; a broken import inside a module is the user's.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        parent, _, name = module_name.rpartition(".")
        if parent and not colon and hasattr(sys.modules.get(parent), name):
            return getattr(sys.modules[parent], name)
        raise ConfigurationError(
            f"-A {path}: there is no module {error.name!r}. It is looked up in the working directory (or `--workdir`)"
            " and on the import path."
        ) from error
    if not colon:
        return module
    try:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ConfigurationError(f"-A {path}: {error}.") from error
    return found() if not _is_app(found) and callable(found) and not isinstance(found, type) else found
