"""How a worker logs: plain or coloured lines for people, JSON for programs; never a password of a URL.

Celeriac's modules only emit records. The program `celeriac worker` is who decides where they go, unless somebody is
connected to the event `setup_logging`, who then decides alone.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from celeriac import events
from celeriac.client.context import current_context
from celeriac.config.masking import mask
from celeriac.config.settings import Settings

__all__ = ["JsonFormatter", "StreamToLog", "TextFormatter", "log_for_good", "logging_to"]

_COLORS = {
    logging.DEBUG: "\033[34m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[1;35m",
}
_RESET = "\033[0m"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "task_name"}


class TextFormatter(logging.Formatter):
    """Writes a line by `worker_log_format`, what a task logs by `worker_task_log_format`.

    Below the line of a task that failed unexpectedly stands its traceback.
    """

    def __init__(self, plain: str, in_task: str, *, color: bool = False) -> None:
        super().__init__(plain)
        self._in_task = logging.Formatter(in_task)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        name, task_id = _task_of(record)
        if task_id is None:
            text = _masked(_with_traceback(super().format(record), record))
        else:
            record.task_name, record.task_id = name, task_id
            text = _masked(self._in_task.format(record))
        start = _COLORS.get(record.levelno) if self._color else None
        return f"{start}{text}{_RESET}" if start else text


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line: time (UTC), level, logger, message, pid, thread, and what the record has more."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        name, task_id = _task_of(record)
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            "thread": record.threadName,
        }
        if task_id is not None:
            fields |= {"task": name, "task_id": task_id}
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: _masked(value) for key, value in fields.items()}, default=_shown)


class StreamToLog:
    """Stands in for `sys.stdout`: each line that is printed becomes a record; `print` writes one in several parts."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._here = threading.local()

    def write(self, text: str) -> int:
        """Log what is printed, line by line; blank lines are not logged."""
        if getattr(self._here, "busy", False):
            # A handler that fails says so on `sys.stderr`, which is this: logging it would fail again, for ever.
            return len(text) if sys.__stderr__ is None else sys.__stderr__.write(text)
        *lines, self._here.rest = (getattr(self._here, "rest", "") + text).split("\n")
        self._log(lines)
        return len(text)

    def flush(self) -> None:
        """Log what has no end of line yet."""
        rest, self._here.rest = getattr(self._here, "rest", ""), ""
        self._log([rest])

    def isatty(self) -> bool:
        """Nobody is there to see colours."""
        return False

    def _log(self, lines: list[str]) -> None:
        self._here.busy = True
        try:
            for line in lines:
                if line.strip():
                    self._logger.log(self._level, "%s", line.rstrip())
        finally:
            self._here.busy = False


@contextmanager
def logging_to(
    conf: Settings, *, level: str, form: str | None = None, logfile: str | None = None, color: bool | None = None
) -> Iterator[None]:
    """Send the log to `logfile`, else to standard error; everything is as before afterwards.

    Args:
        conf: The settings `worker_log_format` and those beside it.
        level: One of `LOG_LEVELS`; the root logger's.
        form: One of `LOG_FORMATS`; None is colours on a terminal.
        logfile: The path of a file, which is opened anew after somebody has moved it away.
        color: False forbids colours whatever `form` says.
    """
    chosen = _form(conf, form, logfile, color)
    if events.setup_logging.receivers:
        events.setup_logging.send(None, loglevel=level, logfile=logfile, format=chosen, colorize=chosen == "color")
        yield
        return
    root = logging.getLogger()
    before = list(root.handlers), root.level
    handler = _handler(conf, chosen, logfile)
    if conf.worker_hijack_root_logger:
        root.handlers = [handler]
    elif not root.handlers:
        root.addHandler(handler)
    root.setLevel(level)
    events.after_setup_logger.send(None, logger=root, loglevel=level, logfile=logfile)
    try:
        with _redirected(conf):
            yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        handler.close()


_for_good = ExitStack()


def log_for_good(conf: Settings, *, level: str, form: str | None, logfile: str | None, color: bool | None) -> None:
    """Do as `logging_to` says until this process ends."""
    _for_good.enter_context(logging_to(conf, level=level, form=form, logfile=logfile, color=color))


def _form(conf: Settings, form: str | None, logfile: str | None, color: bool | None) -> str:
    if form is not None:
        return "text" if form == "color" and color is False else form
    wanted = conf.worker_log_color if color is None else color
    if wanted is None:
        wanted = logfile is None and sys.stderr.isatty()
    return "color" if wanted else "text"


def _handler(conf: Settings, form: str, logfile: str | None) -> logging.Handler:
    handler: logging.Handler
    if logfile is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.WatchedFileHandler(logfile, encoding="utf-8", errors="backslashreplace")
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        plain, in_task = conf.worker_log_format, conf.worker_task_log_format
        handler.setFormatter(TextFormatter(plain, in_task, color=form == "color"))
    return handler


@contextmanager
def _redirected(conf: Settings) -> Iterator[None]:
    """Send what tasks print to the log; the handler keeps the stream it was given."""
    if not conf.worker_redirect_stdouts:
        yield
        return
    level = logging.getLevelNamesMapping()[conf.worker_redirect_stdouts_level]
    before: tuple[TextIO, TextIO] = sys.stdout, sys.stderr
    stream: Any = StreamToLog(logging.getLogger("celeriac.redirected"), level)
    sys.stdout = sys.stderr = stream
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _task_of(record: logging.LogRecord) -> tuple[str | None, str | None]:
    """Return name and id of the task a record belongs to: of the record itself, else of the task that runs here."""
    task_id = getattr(record, "task_id", None)
    if task_id is not None and hasattr(record, "task_name"):
        return record.task_name, task_id
    context = current_context()
    return (None, None) if context is None else (context.task, context.id)


def _with_traceback(text: str, record: logging.LogRecord) -> str:
    traceback: str | None = getattr(record, "task_traceback", None)
    return f"{text}\n{traceback.rstrip()}" if traceback else text


def _masked(value: Any) -> Any:
    return mask(value) if isinstance(value, str) and "://" in value else value


def _shown(value: Any) -> str:
    return str(_masked(repr(value)))
