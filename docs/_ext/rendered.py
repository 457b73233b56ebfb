"""Reference pages rendered from the code, so that they cannot lag behind it.

A page holds a line like `<!-- rendered: settings -->`, or with an argument `<!-- rendered: kind transport -->`; while
Sphinx reads it, the line is replaced by the Markdown that the function of that name in `RENDERERS` returns.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import msgspec

from celeriac import errors, events
from celeriac.config.table import TABLE, Declared
from celeriac.kernel import plugins
from celeriac.kernel.hooks import HookSpecs
from celeriac.model import protocol

MARKER = re.compile(r"(?m)^<!-- rendered: (?P<name>[a-z_]+)(?: (?P<argument>\S+))? -->$")

KINDS = {
    "transport": ("celeriac.spi.transport", "Transport", "TransportCapabilities"),
    "results": ("celeriac.spi.results", "ResultStore", "ResultCapabilities"),
    "serializer": ("celeriac.spi.serializer", "Serializer", ""),
    "pool": ("celeriac.spi.pool", "Pool", "PoolCapabilities"),
    "coordinator": ("celeriac.spi.coordinator", "Coordinator", "CoordinatorCapabilities"),
}


def expand(text: str) -> str:
    """Replace every marker in a page."""
    return MARKER.sub(lambda match: RENDERERS[match["name"]](*filter(None, [match["argument"]])), text)


# -- settings, events, errors, hooks, wire ---------------------------------------------------------


def settings() -> str:
    """Every setting, by family."""
    parts = []
    for family in Declared.__bases__:
        parts.append(f"## {_words(family.__name__)}\n\n{_prose(inspect.getdoc(family))}")
        for name in family.__annotations__:
            setting = TABLE[name]
            lines = [f"### {name}", setting.doc]
            lines.append(f"Type: `{_type_name(setting.type)}`. Default: `{setting.default!r}`.")
            if setting.choices:
                lines.append(f"One of: {', '.join(f'`{choice!r}`' for choice in setting.choices)}.")
            if setting.check is not None:
                lines.append(f"Must be {setting.check.expected}.")
            lines.append(f"Environment: `CELERIAC_{name.upper()}`.")
            parts.append("\n\n".join([lines[0], lines[1], " ".join(lines[2:])]))
    return "\n\n".join(parts)


def event_table() -> str:
    """Every event, its fields and when it is sent."""
    parts = []
    for name, event in events.EVENTS.items():
        fields = ", ".join(f"`{field}`" for field in event.fields) or "none"
        parts.append(f"## {name}\n\n{event.about}\n\nFields: {fields}.")
    return "\n\n".join(parts)


def error_tree() -> str:
    """The tree of errors as drawn in their module, then each one."""
    tree = inspect.getdoc(errors) or ""
    parts = [f"```text\n{tree.partition(chr(10) * 2)[2]}\n```"]
    for name in errors.__all__:
        value = getattr(errors, name)
        if isinstance(value, type):
            bases = ", ".join(f"`{base.__name__}`" for base in value.__bases__)
            parts.append(f"## {name}\n\n{_prose(inspect.getdoc(value))}\n\nA kind of {bases}.")
    return "\n\n".join(parts)


def hook_specs() -> str:
    """Every pluggy hook with its arguments."""
    return "\n\n".join(_method(name, function, "##") for name, function in _hooks())


def _hooks() -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in vars(HookSpecs).items() if name.startswith("celeriac_"))


def headers() -> str:
    """The headers of a task message that a worker reads."""
    return _fields(protocol.TaskHeaders) + "\n\n### The third part of the body\n\n" + _fields(protocol.Embed)


def _fields(record: Any) -> str:
    rows = ["| field | type | when absent |", "|---|---|---|"]
    for field in msgspec.structs.fields(record):
        absent = "required" if field.required else f"`{field.default_factory() if _made(field) else field.default!r}`"
        annotation = str(record.__annotations__[field.name]).replace("|", "or")
        rows.append(f"| `{field.encode_name}` | `{annotation}` | {absent} |")
    return "\n".join(rows)


def _made(field: Any) -> bool:
    return field.default_factory is not msgspec.NODEFAULT


# -- kinds of plugins ------------------------------------------------------------------------------


def kind(name: str) -> str:
    """One kind of plugin: its contract, what an author writes, what the kernel calls, what is optional."""
    module_name, class_name, capabilities = KINDS[name]
    module = importlib.import_module(module_name)
    main = getattr(module, class_name)
    required, called = _required(main), _called(main)
    group = plugins.KINDS[name]
    parts = [
        _prose(inspect.getdoc(module)),
        f"Entry point group: `{group}`. Home: `{module_name}`.",
        f"## What a plugin writes\n\n{_prose(inspect.getdoc(main))}\n\n" + _attributes(main),
        *(_method(method, function, "###") for method, function in required),
        "## What the kernel calls" if called else "",
        *(_method(method, function, "###") for method, function in called),
    ]
    optional = _optional(module, class_name)
    if optional:
        parts.append("## Optional abilities")
    for extra in optional:
        parts.append(f"### {extra.__name__}\n\n{_prose(inspect.getdoc(extra))}")
        parts += [_method(method, function, "####") for method, function in (*_required(extra), *_called(extra))]
    if capabilities:
        record = getattr(module, capabilities)
        parts.append(f"## Capabilities\n\n{_prose(inspect.getdoc(record))}\n\n{_capability_rows(record)}")
    return "\n\n".join(part for part in parts if part.strip())


def _required(main: type) -> list[tuple[str, Any]]:
    names = sorted(main.__abstractmethods__, key=lambda name: _order(main, name))  # type: ignore[attr-defined]
    return [(name, inspect.getattr_static(main, name)) for name in names]


def _order(main: type, name: str) -> tuple[int, int]:
    for distance, owner in enumerate(reversed(main.__mro__)):
        if name in vars(owner):
            return distance, list(vars(owner)).index(name)
    return 0, 0


def _called(main: type) -> list[tuple[str, Any]]:
    members = [member for owner in reversed(main.__mro__[:-1]) for member in vars(owner).items()]
    called = {
        name: value
        for name, value in members
        if not name.startswith("_") and inspect.isfunction(value) and not _is_abstract(value)
    }
    return list(called.items())


def _optional(module: ModuleType, main: str) -> list[type]:
    classes = [value for name in module.__all__ if isinstance(value := getattr(module, name), type) and name != main]
    return sorted((value for value in classes if inspect.isabstract(value)), key=lambda value: value.__name__)


def _is_abstract(function: Any) -> bool:
    return bool(getattr(function, "__isabstractmethod__", False))


def _method(name: str, function: Any, heading: str) -> str:
    if isinstance(function, property):
        code = f"{name}: {_returns(function.fget)}"
    else:
        signature = str(inspect.signature(function)).replace("'", "")
        code = f"def {name}{signature}: ..."
    told = _doc(function) or (f"Does the work of `{name[1:]}`, below." if name.startswith("_") else "")
    return f"{heading} {name}\n\n```python\n{code}\n```\n\n{told}".rstrip()


def _returns(function: Any) -> str:
    return str(inspect.signature(function).return_annotation).strip("'")


def _doc(function: Any) -> str:
    return _prose(function.__doc__ and inspect.cleandoc(function.__doc__))


def _attributes(main: type) -> str:
    """Render class attributes that a plugin sets: those annotated as ClassVar."""
    rows = []
    for owner in reversed(main.__mro__[:-1]):
        documented = _field_docs(owner)
        for name, annotation in inspect.get_annotations(owner).items():
            if "ClassVar" in str(annotation) and not name.startswith("_"):
                shown = str(annotation).removeprefix("ClassVar[").removesuffix("]")
                rows.append(f"`{name}: {shown}`\n: {documented.get(name) or _words(name) + '.'}")
    return "\n\n".join(rows)


# -- capabilities ----------------------------------------------------------------------------------


def capability_table(name: str) -> str:
    """Plugins of one kind against its capabilities, from the declarations of what is installed."""
    record = _record(name)
    infos = [info for info in plugins.installed(name) if info.declaration is not None]
    infos = [info for info in infos if info.declaration.capabilities is not None]
    head = ["capability", *(f"`{info.name}`" for info in infos)]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for field in msgspec.structs.fields(record):
        values = [_value(getattr(info.declaration.capabilities, field.name)) for info in infos]
        rows.append(f"| `{field.name}` | {' | '.join(values)} |")
    return "\n".join(rows)


def _record(name: str) -> Any:
    module, _, record = KINDS[name]
    return getattr(importlib.import_module(module), record)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset | set | tuple | list):
        return ", ".join(sorted(map(str, value))) or "none"
    return str(value)


def _capability_rows(record: Any) -> str:
    documented = _field_docs(record)
    rows = ["| capability | default | meaning |", "|---|---|---|"]
    for field in msgspec.structs.fields(record):
        meaning = (documented.get(field.name) or _words(field.name) + ".").replace("\n", " ")
        rows.append(f"| `{field.name}` | {_value(field.default)} | {meaning} |")
    return "\n".join(rows)


POOL_COLUMNS = {
    "soft_limits": "soft limit",
    "hard_limits": "hard limit",
    "terminates": "terminate",
    "resizes": "resize",
    "recycles": "recycle",
    "coroutines": "async side by side",
    "processes": "survives a crash",
    "platforms": "platform",
}


def pool_list() -> str:
    """Every installed pool against what it can do, from its declaration."""
    rows = [f"| pool | {' | '.join(POOL_COLUMNS.values())} |", "|---" * (len(POOL_COLUMNS) + 1) + "|"]
    for info in plugins.installed("pool"):
        if info.declaration is not None:
            values = [_value(getattr(info.declaration.capabilities, name)) for name in POOL_COLUMNS]
            rows.append(f"| `{info.name}` | {' | '.join(values)} |")
    return "\n".join(rows)


def plugin_list() -> str:
    """Every installed plugin, its distribution and its one sentence."""
    rows = ["| kind | name | distribution | what it is |", "|---|---|---|---|"]
    for info in plugins.installed():
        if info.kind in KINDS:
            summary = info.declaration.summary if info.declaration is not None else ""
            rows.append(f"| {info.kind} | `{info.name}` | {info.distribution} | {summary} |")
    return "\n".join(rows)


# -- text ------------------------------------------------------------------------------------------


def _field_docs(owner: type) -> dict[str, str]:
    """Return the strings that stand below the fields of a class."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
    except (OSError, TypeError):
        return {}
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return found


def _prose(docstring: str | None) -> str:
    """Turn a Google-style docstring into Markdown: sections become definition lists."""
    lines = (docstring or "").splitlines()
    shown = []
    for line in lines:
        section = re.match(r"(Args|Returns|Raises|Source|Yields):\s*(.*)", line)
        if section:
            shown += ["", f"**{section[1]}:** {section[2]}".rstrip()] + ([] if section[2] else [""])
        elif re.match(r"    [A-Za-z_`][\w`., ]*: ", line):
            shown.append("- " + line.strip())
        else:
            shown.append("  " + line.strip() if line.startswith("        ") else line.strip())
    return _without_html("\n".join(shown)).strip()


def _without_html(text: str) -> str:
    return re.sub(r"(?<!`)<(\w+)>(?!`)", r"\\<\1>", text)


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " ")).capitalize()


def _type_name(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else re.sub(r"typing\.", "", str(annotation))
    )


RENDERERS: dict[str, Callable[..., str]] = {
    "settings": settings,
    "events": event_table,
    "errors": error_tree,
    "hooks": hook_specs,
    "headers": headers,
    "kind": kind,
    "capabilities": capability_table,
    "plugins": plugin_list,
    "pools": pool_list,
}


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""

    def read(_app: Any, _page: str, source: list[str]) -> None:
        source[0] = expand(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
