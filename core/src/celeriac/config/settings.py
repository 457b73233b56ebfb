"""The settings of one app: several sources, one answer, and where it came from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from celeriac.config.masking import MASK, mask
from celeriac.config.names import hint
from celeriac.config.setting import Setting
from celeriac.config.sources import Entry, read
from celeriac.config.table import TABLE, Declared
from celeriac.config.values import accept, parse
from celeriac.errors import ConfigurationError, InvalidSetting, UnknownSetting

__all__ = ["ENVIRONMENT_PREFIX", "Explained", "Settings"]

ENVIRONMENT_PREFIX = "CELERIAC_"

_OBJECT, _CODE, _ENVIRONMENT, _COMMAND_LINE = range(4)
"""The layers, the strongest last. Below them all is the default."""


class Explained(Struct, frozen=True, kw_only=True):
    """One setting as it stands. `shown` is the value without secrets."""

    name: str
    value: Any
    source: str
    default: Any
    doc: str
    secret: bool = False

    @property
    def shown(self) -> Any:
        """The value, fit for logs and terminals."""
        return MASK if self.secret and self.value is not None else mask(self.value)


class Settings(Declared):
    """Every setting as an attribute and as an item, from these sources, the strongest last.

    1. The default.
    2. A module, class, object or mapping: `config_from_object`. Imported and read at the first read of a setting.
    3. Code: keywords, `conf.name = value`, `update`. Checked at once.
    4. The environment: `CELERIAC_<NAME>`; an empty one counts as absent.
    5. The command line.

    The first read resolves all of them and reports everything that is wrong in one error. From then on reading is
    a plain attribute of the instance. Names nobody knows are kept until the plugins were asked for theirs: then
    they are refused.

    Args:
        keywords: Settings given in code.
        environ: Where variables are looked up; nothing is when None.
        discover: Returns the settings of the active plugins. Called at most once, with these settings, when a name
            is not one of the core's or when all settings are listed.
    """

    def __init__(
        self,
        *,
        keywords: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        discover: Callable[[Settings], Iterable[Setting]] | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._table: dict[str, Setting] = dict(TABLE)
        self._layers: list[dict[str, Entry]] = [{}, {}, {}, {}]
        self._pending: list[tuple[int, Entry]] = []
        self._defaults: dict[str, Any] = {}
        self._environ = environ or {}
        self._discover = discover
        self._object: tuple[Any, str | None] | None = None
        self._object_read = False
        self._resolved = False
        self._revision = 0
        if keywords:
            self._give(_CODE, keywords, "a keyword")

    # -- giving values -----------------------------------------------------------------------------

    def config_from_object(self, obj: Any, namespace: str | None = None) -> None:
        """Take settings from a module, class, object or mapping, or from the import path of one.

        It replaces the object given before. Nothing is imported until the first read, or `resolve`.

        Args:
            obj: What to read; `package.module` or `package.module:attribute` if a string.
            namespace: Only names that begin with it are read: `namespace="CELERY"` reads CELERY_TASK_SERIALIZER.
        """
        with self._lock:
            self._object = (obj, namespace)
            self._object_read = False
            self._forget()

    def update(self, values: Mapping[str, Any] | None = None, /, **keywords: Any) -> None:
        """Set several at once: all of them, or none and an error that lists what is wrong."""
        self._give(_CODE, {**(values or {}), **keywords}, "code")

    def override(self, values: Mapping[str, Any], source: str = "the command line") -> None:
        """Set above every other source. Strings are read as in the environment."""
        self._give(_COMMAND_LINE, values, source, text=True)

    def declare(self, settings: Iterable[Setting]) -> None:
        """Make further settings known: those of a plugin.

        Raises: ConfigurationError: a name is taken, or what a source says about one of them is wrong.
        """
        with self._lock:
            for setting in settings:
                if self._table.setdefault(setting.name, setting) != setting:
                    raise ConfigurationError(f"Setting {setting.name!r} is declared twice. Rename the plugin's own.")
            self._forget()

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self.update({name: value})

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    @property
    def overrides(self) -> dict[str, Any]:
        """What `override` was given, by name: what another process must be told to have the same settings."""
        pending = {entry.name: entry.value for layer, entry in self._pending if layer == _COMMAND_LINE}
        return {**pending, **{name: entry.value for name, entry in self._layers[_COMMAND_LINE].items()}}

    @property
    def object_path(self) -> tuple[str, str | None] | None:
        """What `config_from_object` was given, with its namespace, if that was the import path of an object."""
        return self._object if self._object is not None and isinstance(self._object[0], str) else None

    @property
    def known(self) -> tuple[Setting, ...]:
        """Every setting that is known so far: the core's, and those of plugins once they were asked."""
        return tuple(self._table.values())

    # -- reading -----------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """A number that changes with every change of a value: who derives something from settings compares it."""
        return self._revision

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dict__ or name.startswith("_"):
            self._require(name)
        return self.__dict__[name]

    def __getattr__(self, name: str) -> Any:
        """Reached only for what is no setting of the core, or before a plugin's are known."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, or `default` if there is none of that name."""
        try:
            return self[name]
        except UnknownSetting as error:
            if error.name != name:
                raise  # a source is wrong, not this name
            return default

    def __contains__(self, name: object) -> bool:
        if name in self._table:
            return True
        self.resolve(plugins=True)
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        self.resolve(plugins=True)
        return iter(list(self._table))

    def __len__(self) -> int:
        self.resolve(plugins=True)
        return len(self._table)

    def explain(self, name: str) -> Explained:
        """Return the value of one setting, where it comes from, and what it means."""
        value = self[name]
        setting = self._table[name]
        entry = self._winner(name)
        source = entry.source if entry is not None else "default"
        return Explained(
            name=name, value=value, source=source, default=setting.default, doc=setting.doc, secret=setting.secret
        )

    def table(self, *, censored: bool = True) -> dict[str, Any]:
        """Return every setting by name; `censored` masks passwords and secrets."""
        explained = [self.explain(name) for name in self]
        return {each.name: each.shown if censored else each.value for each in explained}

    # -- resolving ---------------------------------------------------------------------------------

    def resolve(self, *, plugins: bool = False) -> None:
        """Read every source now; with `plugins`, also ask the active plugins for their settings.

        Raises: UnknownSetting, InvalidSetting: one thing is wrong. ConfigurationError: several are, all listed.
        """
        with self._lock:
            if self._resolved and not (plugins and self._discover):
                return
            try:
                problems = self._read_sources()
                if not problems:
                    problems = self._ask_plugins(always=plugins)
                self._refuse(problems)
            except BaseException:
                self._hide()
                raise
            self._pending.clear()
            self._resolved = True

    def _read_sources(self) -> list[ConfigurationError]:
        """Fill the layers and publish what is known; return what is wrong."""
        problems: list[ConfigurationError] = []
        if self._object is not None and not self._object_read:
            self._layers[_OBJECT].clear()
            self._pending = [(layer, entry) for layer, entry in self._pending if layer != _OBJECT]
            obj, namespace = self._object
            problems += self._take(_OBJECT, read(obj, namespace=namespace, names=self._table))
        self._layers[_ENVIRONMENT].clear()
        problems += self._take(_ENVIRONMENT, self._variables())
        pending, self._pending = self._pending, []
        for layer, entry in pending:
            wrong = self._take(layer, [entry])
            self._pending += [(layer, entry)] if wrong else []
            problems += wrong
        self._object_read = not problems
        self._publish()
        return problems

    def _variables(self) -> Iterator[Entry]:
        for name in self._table:
            key = ENVIRONMENT_PREFIX + name.upper()
            if value := self._environ.get(key):
                yield Entry(name=name, key=key, value=value, source=key, text=True)

    def _ask_plugins(self, *, always: bool) -> list[ConfigurationError]:
        """Ask once, when it matters; read from the sources what they declare."""
        if self._discover is None or not (always or self._unknown()):
            return []
        discover, self._discover = self._discover, None
        try:
            self.declare(discover(self))
        except BaseException:
            self._discover = discover
            raise
        return self._read_sources()

    def _refuse(self, problems: list[ConfigurationError]) -> None:
        """Raise what is wrong, with the names nobody knows and the values that contradict each other."""
        if self._discover is None or not problems:
            problems += [self._refusal(entry) for entry in self._unknown()]
        problems += self._contradictions()
        if problems:
            raise _all(problems)

    def _contradictions(self) -> list[ConfigurationError]:
        soft, hard = (self._value(name) for name in ("task_soft_time_limit", "task_time_limit"))
        if soft is None or hard is None or soft < hard:
            return []
        return [
            ConfigurationError(
                f"`task_soft_time_limit` ({soft:g} s) must be below `task_time_limit` ({hard:g} s):"
                " the hard limit would end the task first."
            )
        ]

    def _give(self, layer: int, values: Mapping[str, Any], source: str, *, text: bool = False) -> None:
        """Check values and put them in force, or keep what is not known until the plugins were asked."""
        entries = [
            Entry(name=name, key=name, value=value, source=source, text=text and isinstance(value, str))
            for name, value in values.items()
        ]
        with self._lock:
            if self._resolved and any(name not in self._table for name in values):
                self.resolve(plugins=True)
            before, pending = dict(self._layers[layer]), list(self._pending)
            problems = self._take(layer, entries)
            if self._discover is None:
                problems += [self._refusal(entry) for entry in self._unknown() if entry in entries]
            if self._resolved:
                problems += self._contradictions()
            if problems:
                self._layers[layer], self._pending = before, pending
                raise _all(problems)
            if self._resolved:
                self._publish()

    def _take(self, layer: int, entries: Iterable[Entry]) -> list[ConfigurationError]:
        """Check entries and put them into a layer; return what is wrong with them."""
        problems: list[ConfigurationError] = []
        for entry in entries:
            setting = self._table.get(entry.name)
            if setting is None:
                self._pending.append((layer, entry))
                continue
            convert = parse if entry.text else accept
            try:
                value = convert(setting, entry.value, source=entry.source)
            except InvalidSetting as error:
                problems.append(error)
            else:
                self._layers[layer][entry.name] = Entry(
                    name=entry.name, key=entry.key, value=value, source=entry.source
                )
        return problems

    def _publish(self) -> None:
        """Put every value into the instance, where reading it costs nothing."""
        self._revision += 1
        for name in self._table:
            self.__dict__[name] = self._value(name)

    def _value(self, name: str) -> Any:
        """Return what the strongest source says, else the default; a default is copied once, so changing it lasts."""
        entry = self._winner(name)
        if entry is not None:
            return entry.value
        if name not in self._defaults:
            self._defaults[name] = accept(self._table[name], self._table[name].default, source="default")
        return self._defaults[name]

    def _winner(self, name: str) -> Entry | None:
        return next((layer[name] for layer in reversed(self._layers) if name in layer), None)

    def _require(self, name: str) -> None:
        self.resolve(plugins=name not in self._table)
        if name not in self._table:
            raise UnknownSetting(name, self._table, hint=hint(name, self._table))

    def _unknown(self) -> list[Entry]:
        return [entry for _, entry in self._pending if entry.certain and entry.name not in self._table]

    def _refusal(self, entry: Entry) -> UnknownSetting:
        advice = hint(entry.name, self._table) or hint(entry.key, self._table)
        return UnknownSetting(entry.name, self._table, source=entry.source, hint=advice)

    def _forget(self) -> None:
        self._resolved = False
        self._hide()

    def _hide(self) -> None:
        self._revision += 1
        for name in self._table:
            self.__dict__.pop(name, None)

    def __repr__(self) -> str:
        object_ = f" from {self._object[0]!r}" if self._object is not None else ""
        return f"<Settings{object_}: {sum(map(len, self._layers))} given>"


def _all(problems: Sequence[ConfigurationError]) -> ConfigurationError:
    if len(problems) == 1:
        return problems[0]
    return ConfigurationError(f"{len(problems)} settings are wrong:\n" + "\n".join(f"  - {each}" for each in problems))
