from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from celeriac import events
from celeriac.cli.logs import JsonFormatter, StreamToLog, TextFormatter, logging_to
from celeriac.client.context import Context, pop, push
from celeriac.config.settings import Settings


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    assert (root.handlers, root.level) == before


def record(message: str = "said %s", *args: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("some.logger", level, __file__, 1, message, args or ("so",), None)
    vars(made).update(extra)
    return made


def test_a_record_of_a_task_is_written_by_the_format_of_tasks() -> None:
    formatter = TextFormatter("plain %(message)s", "%(task_name)s[%(task_id)s] %(message)s")

    outside = formatter.format(record())
    token = push(Context(task="proj.add", id="an-id"))
    inside = formatter.format(record())
    pop(token)

    assert (outside, inside) == ("plain said so", "proj.add[an-id] said so")


def test_colours_follow_the_level() -> None:
    formatter = TextFormatter("%(message)s", "", color=True)

    assert formatter.format(record()) == "said so"
    assert formatter.format(record(level=logging.ERROR)) == "\033[31msaid so\033[0m"


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_password_of_a_url_is_ever_logged(form: str) -> None:
    formatter = JsonFormatter() if form == "json" else TextFormatter("%(message)s", "")

    text = formatter.format(
        record("lost %s", "redis://me:geheim@host/0?password=geheim while waiting", url="a://b:geheim@c")
    )

    assert "geheim" not in text
    assert "while waiting" in text


def test_json_holds_what_the_record_has_more_and_the_exception() -> None:
    try:
        int("here")
    except ValueError:
        made = record(event="some_event", count=3, thing=object())
        made.exc_info = sys.exc_info()

    fields = json.loads(JsonFormatter().format(made))

    assert (fields["event"], fields["count"], fields["level"], fields["message"]) == (
        "some_event",
        3,
        "INFO",
        "said so",
    )
    assert "ValueError: invalid literal" in fields["exception"]
    assert fields["time"].endswith("+00:00")
    assert fields["thing"].startswith("<object object")


def test_json_names_the_task() -> None:
    token = push(Context(task="proj.add", id="an-id"))
    fields = json.loads(JsonFormatter().format(record()))
    pop(token)

    assert (fields["task"], fields["task_id"]) == ("proj.add", "an-id")


def test_everything_is_as_before_afterwards(tmp_path: Path) -> None:
    streams = sys.stdout, sys.stderr
    path = tmp_path / "w.log"

    with logging_to(Settings(), level="INFO", logfile=str(path)):
        logging.getLogger("x").info("line")
        print("printed")

    assert (sys.stdout, sys.stderr) == streams
    assert [line.rpartition("] ")[2] for line in path.read_text().splitlines()] == ["line", "printed"]


def test_handlers_of_the_program_stay_where_the_settings_say_so() -> None:
    root = logging.getLogger()
    mine = logging.NullHandler()
    root.addHandler(mine)

    with logging_to(Settings(keywords={"worker_hijack_root_logger": False}), level="INFO"):
        assert mine in root.handlers

    root.removeHandler(mine)


def test_who_sets_up_logging_does_so_alone() -> None:
    asked: list[dict[str, object]] = []

    def mine(sender: object, **fields: object) -> None:
        asked.append(fields)

    events.setup_logging.connect(mine)
    try:
        handlers = logging.getLogger().handlers[:]
        with logging_to(Settings(), level="INFO", form="json"):
            assert logging.getLogger().handlers == handlers
    finally:
        events.setup_logging.disconnect(mine)

    assert asked == [{"loglevel": "INFO", "logfile": None, "format": "json", "colorize": False}]


@pytest.mark.parametrize(
    ("form", "color", "setting", "colored"),
    [
        (None, None, None, False),
        (None, None, True, True),
        (None, False, True, False),
        ("color", None, None, True),
        ("color", False, None, False),
        ("text", None, True, False),
    ],
)
def test_colours_are_for_terminals_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, form: str | None, color: bool | None, setting: bool | None, colored: bool
) -> None:
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    conf = Settings(keywords={"worker_log_color": setting})

    with logging_to(conf, level="INFO", form=form, color=color):
        logging.getLogger("x").error("line")

    assert ("\033[31m" in stream.getvalue()) is colored


def test_what_is_printed_in_parts_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    stream = StreamToLog(logging.getLogger("printed"), logging.WARNING)

    print("one", 2, "three\n\nfour", file=stream)
    print("five", end="", file=stream)
    assert caplog.messages == ["one 2 three", "four"]

    stream.flush()
    stream.flush()
    assert caplog.messages == ["one 2 three", "four", "five"]
    assert not stream.isatty()


def test_a_handler_that_fails_does_not_fail_for_ever(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("failing")
    logger.propagate = False
    stream = StreamToLog(logger, logging.WARNING)

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("cannot write", file=stream)

    handler = Failing()
    logger.addHandler(handler)
    print("hello", file=stream)
    logger.removeHandler(handler)
    logger.propagate = True

    assert "cannot write" in capfd.readouterr().err
