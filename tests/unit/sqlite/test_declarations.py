"""What is said about the plugin without importing its driver."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celeriac.spi.results import Expires, Waits
from celeriac.spi.transport import Commits, Declares, Inspects, KeepsLetters, Leases
from celeriac_sqlite import plugin
from celeriac_sqlite.results import SqliteResultStore
from celeriac_sqlite.transport import SqliteTransport

KINDS = {"transport": plugin.transport, "results": plugin.results, "coordinator": plugin.coordinator}


def test_the_declarations_import_no_sqlite3() -> None:
    code = "import sys, celeriac_sqlite.plugin; print('sqlite3' in sys.modules)"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == "False\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_is_what_its_declaration_says(kind: str) -> None:
    declaration = KINDS[kind]
    loaded = declaration.load(kind, "sqlite")

    assert loaded.capabilities is declaration.capabilities
    assert loaded.options is declaration.options


def test_the_capabilities_agree_with_the_interfaces() -> None:
    assert all(issubclass(SqliteTransport, kind) for kind in (Declares, Leases, Commits, Inspects, KeepsLetters))
    assert all(issubclass(SqliteResultStore, kind) for kind in (Waits, Expires))
