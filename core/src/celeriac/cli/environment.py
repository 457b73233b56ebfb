"""Variables of the environment that look like ours and that nothing reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

import click

from celeriac.config.settings import ENVIRONMENT_PREFIX

__all__ = ["misspelt"]

_OTHERS = frozenset({"APP", "CONFIG_MODULE", "NO_COLOR", "TRACEBACK", "TRACE_HOOKS", "WORKDIR"})


def misspelt(environ: Mapping[str, str], settings: Iterable[str], root: click.Group) -> Iterator[str]:
    """Yield a sentence for each variable that is nearly the name of one that is read.

    Others that begin as ours do are left alone: an environment is shared, and they may be meant for another program.
    """
    known = {ENVIRONMENT_PREFIX + name.upper() for name in settings}
    known |= {ENVIRONMENT_PREFIX + name for name in _OTHERS} | set(_of_options(root))
    for name in environ:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            if close:
                yield f"The variable {name} is not read by anything. Did you mean {close[0]}?"


def _of_options(root: click.Group) -> Iterator[str]:
    context = click.Context(root, info_name="celeriac")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        for param in command.params if command is not None else ():
            yield f"{ENVIRONMENT_PREFIX}{name}_{param.name}".upper().replace("-", "_")
