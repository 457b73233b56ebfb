"""What the options before the command say, and the app they name."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from celeriac.errors import CeleriacError, ConfigurationError

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["Program", "importing", "pass_program", "run", "transport_with"]

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])


class Program:
    """The options of `celeriac` itself. The app is imported when a command asks for it, not before."""

    def __init__(
        self,
        *,
        app_path: str | None = None,
        broker: str | None = None,
        result_backend: str | None = None,
        config: str | None = None,
        workdir: str | None = None,
        quiet: bool = False,
    ) -> None:
        self.app_path = app_path
        self.import_path: str | None = app_path
        """Where another process finds the app; None where it was not found but handed over."""
        self.broker = broker
        self.result_backend = result_backend
        self.config = config
        self.workdir = workdir
        self.quiet = quiet

    def use(self, app: Celeriac) -> None:
        """Take this app, whatever `app_path` says."""
        self.app_path = self.app_path or app.main or "app"
        self.import_path = None
        self.app = self._told(app)

    def enter(self) -> None:
        """Go to the working directory and make what is there importable."""
        if self.workdir is not None:
            os.chdir(self.workdir)
        here = os.getcwd()
        if here not in sys.path:
            sys.path.insert(0, here)

    @functools.cached_property
    def app(self) -> Celeriac:
        """The app that `--app` names, else one without tasks, with what the command line says on top.

        Raises: ConfigurationError: there is no such app, or what is said about it is wrong.
        """
        from celeriac.client.app import Celeriac  # noqa: PLC0415  most of the start-up time; `--help` needs none of it
        from celeriac.client.discovery import find_app  # noqa: PLC0415  as above

        app: Celeriac = (
            Celeriac("default") if self.app_path is None else importing(f"-A {self.app_path}", find_app, self.app_path)
        )
        return self._told(app)

    def _told(self, app: Celeriac) -> Celeriac:
        """Put what the command line says on top of the app's settings."""
        if self.config is not None:
            app.config_from_object(self.config)
        given = {"broker_url": self.broker, "result_backend": self.result_backend}
        app.conf.override({name: value for name, value in given.items() if value is not None})
        return app


def importing(what: str, load: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what imports modules of the user.

    Raises: ConfigurationError: they failed; says how, and how to see where.
    """
    try:
        return load(*args, **kwargs)
    except (CeleriacError, click.ClickException):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{what}: importing it failed with {type(error).__name__}: {error}. See where: celeriac --traceback …"
        ) from error


def run(app: Celeriac, argv: Sequence[str] | None = None) -> None:
    """Run the command line with this app instead of the one that `--app` would name, and exit the process."""
    from celeriac.cli.main import celeriac  # noqa: PLC0415  it imports this module

    celeriac.main(argv, obj=app)


def pass_program(function: Function) -> Function:
    """Pass the `Program` as the first argument of a command."""

    @click.pass_context
    def with_program(context: click.Context, *args: Any, **kwargs: Any) -> Any:
        return context.invoke(function, context.find_object(Program) or Program(), *args, **kwargs)

    return functools.update_wrapper(with_program, function)  # type: ignore[return-value]


@contextmanager
def transport_with(program: Program, flag: str, what: str) -> Iterator[Any]:
    """Give an open connection to the broker that has the capability `flag`; the app is closed afterwards.

    Args:
        program: The options of the command line.
        flag: A field of `TransportCapabilities`.
        what: What it is needed for, to complete "does not support …".

    Raises: Unsupported: this transport has it not; names those that have.
    """
    with program.app as app:
        transport = app.connections.transport()
        if not getattr(transport.capabilities, flag):
            from celeriac.cli.able import refuse_transport  # noqa: PLC0415  plugin discovery, for the error only

            raise refuse_transport(what, flag, transport.address.scheme)
        yield transport
