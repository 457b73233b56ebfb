"""Tests that need a server find it, start it, skip with the reason, or fail where CI is set."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
import servers
from servers import Server, ServerMissing, free_port, running

PROGRAM = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")


def test_a_server_that_ends_at_once_is_missing() -> None:
    server = Server(name="acme", url="", port=free_port(), program=(sys.executable, "-c", "", "{port}"))

    with pytest.raises(ServerMissing, match="did not open port"), running(server):
        pass


def test_a_server_named_by_its_variable_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERIAC_TEST_ACME", "acme://elsewhere")

    with running(Server(name="acme", url="acme://127.0.0.1:{port}", port=1)) as url:
        assert url == "acme://elsewhere"


@pytest.mark.parametrize("program", [(), ("no-such-program-acme",)])
def test_a_server_at_its_usual_port_is_used_where_none_can_be_started(program: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        with running(Server(name="acme", url="acme://127.0.0.1:{port}", port=port, program=program)) as url:
            assert url == f"acme://127.0.0.1:{port}"


def test_a_server_at_its_usual_port_is_left_alone_where_one_can_be_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        with running(Server(name="acme", url="{port}", port=port, program=PROGRAM)) as url:
            assert int(url) != port


def test_a_server_that_is_only_installed_is_started_and_stopped() -> None:
    server = Server(name="acme", url="{port}", port=free_port(), program=PROGRAM)

    with running(server) as url:
        port = int(url)
        assert servers.answers(port)

    assert not servers.answers(port)


def test_a_server_that_is_not_there_is_missing_and_the_error_says_how_to_get_it() -> None:
    server = Server(name="acme", url="", port=free_port(), program=("no-such-program-acme",))

    with pytest.raises(ServerMissing, match=r"install no-such-program-acme or set CELERIAC_TEST_ACME"), running(server):
        pass


def test_bundles_describe_their_servers(tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / "acme"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.celeriac.servers.acme]\nurl = "acme://127.0.0.1:{port}"\nport = 4\n')

    assert servers.declared(tmp_path) == {"acme": Server(name="acme", url="acme://127.0.0.1:{port}", port=4)}


@pytest.fixture
def tests_that_need_acme(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make a tree whose one test needs a server that is nowhere, with this tree's conftest."""
    folder = pytester.mkdir("bundles") / "acme"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        f'[tool.celeriac.servers.acme]\nurl = "acme://"\nport = {free_port()}\nprogram = ["no-such-program-acme"]\n'
    )
    tests = pytester.mkdir("tests")
    original = Path(servers.__file__).parent / "conftest.py"
    (tests / "conftest.py").write_text(original.read_text())
    (tests / "test_acme.py").write_text(
        "import pytest\n\n@pytest.mark.server('acme')\ndef test_it() -> None:\n    pass\n"
    )
    pytester.makeini("[pytest]\nmarkers = server(name): needs a server")
    monkeypatch.delenv("CI", raising=False)
    return pytester


def test_a_missing_server_skips_locally_and_is_counted(tests_that_need_acme: pytest.Pytester) -> None:
    result = tests_that_need_acme.runpytest("tests")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*skipped, by reason*", "*1 no acme at port *: start one, install no-such-program-acme*"]
    )


def test_a_missing_server_fails_where_ci_is_set(
    tests_that_need_acme: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")

    result = tests_that_need_acme.runpytest("tests")

    result.assert_outcomes(errors=1)
