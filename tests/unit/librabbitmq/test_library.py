"""Where the module in C or rabbitmq-c is missing, whoever asks for them learns what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from celeriac_amqp.codec import Codec
from celeriac_librabbitmq import library

LOAD = """
import sys
{before}
from celeriac.errors import MissingDependency
from celeriac.kernel import plugins
try:
    plugins.load("transport", "librabbitmq")
except MissingDependency as error:
    print(error)
"""


def said(before: str, **environment: str) -> str:
    """Return what loading the transport says in a process of its own."""
    command = [sys.executable, "-c", LOAD.format(before=before)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=20).stdout


def test_a_missing_library_is_named_with_its_package_and_the_alternative(native: Codec, tmp_path: Path) -> None:
    text = said("", CELERIAC_LIBRABBITMQ=str(tmp_path / "librabbitmq.so.4"))

    assert str(tmp_path) in text
    assert "apt install librabbitmq4" in text
    assert "brew install rabbitmq-c" in text
    assert "use amqp://" in text


def test_a_library_of_something_else_is_refused(native: Codec) -> None:
    text = said("", CELERIAC_LIBRABBITMQ=str(library.open_codec().__file__))

    assert "has no function amqp_version_number" in text


def test_a_missing_module_is_named_with_what_builds_it_and_the_alternative() -> None:
    text = said("sys.modules['celeriac_librabbitmq.native'] = None")

    assert "C compiler" in text
    assert "python3-dev" in text
    assert "use amqp://" in text


def test_the_other_transport_needs_neither() -> None:
    text = said("sys.modules['celeriac_librabbitmq.native'] = None\nimport celeriac_amqp.transport")

    assert "cannot be loaded" in text


OTHER = """
import types
other = types.ModuleType("celeriac_librabbitmq.native")
other.open_library = lambda place: "9.0.0"
other.compose = lambda *_: [b"something else"]
other.read = lambda queue, events, *_: events
sys.modules[other.__name__] = other
"""


def test_a_library_that_writes_in_another_way_is_refused_before_anything_is_sent() -> None:
    text = said(OTHER)

    assert "(rabbitmq-c 9.0.0) does not read or write messages" in text
