"""Drawings of a graph."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from celeriac.errors import ConfigurationError
from celeriac.kernel import drawing
from celeriac.kernel.drawing import draw
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Boot, Key, Step

APP: Key[object] = Key("app")
HUB: Key[object] = Key("hub")
CLOCK: Key[object] = Key("clock")


class HubStep(Step):
    name = "hub"
    needs = (APP,)
    provides = (HUB, CLOCK)

    def start(self, boot: Boot) -> None: ...


class PoolStep(Step):
    name = 'a "pool" #1'
    needs = (CLOCK, HUB, APP, HUB)

    def start(self, boot: Boot) -> None: ...


class Alone(Step):
    name = "alone"

    def start(self, boot: Boot) -> None: ...


@pytest.fixture
def graph() -> Graph:
    return Graph([PoolStep, HubStep, Alone], given=[APP])


def test_text_lists_the_steps_in_their_order(graph: Graph) -> None:
    assert draw(graph, title="worker") == (
        "worker: 3 steps, in the order they start\n"
        "    given: app\n"
        f"  1 alone        ({__name__}.Alone)\n"
        f"  2 hub          needs app  provides hub, clock  ({__name__}.HubStep)\n"
        f'  3 a "pool" #1  needs clock, hub, app, hub  ({__name__}.PoolStep)\n'
    )


def test_text_of_few_or_no_steps_reads_well() -> None:
    assert draw(Graph([Alone])) == f"boot: 1 step, in the order they start\n  1 alone  ({__name__}.Alone)\n"
    assert draw(Graph([])) == "boot: 0 steps, in the order they start\n"


def test_mermaid_draws_given_keys_round_and_quotes_names(graph: Graph) -> None:
    assert draw(graph, "mermaid", title='the "worker"') == (
        "---\n"
        'title: "the \\"worker\\""\n'
        "---\n"
        "flowchart TD\n"
        '    given0(["app"])\n'
        '    step0["alone"]\n'
        '    step1["hub"]\n'
        '    step2["a #quot;pool#quot; #35;1"]\n'
        '    given0 -->|"app"| step1\n'
        '    given0 -->|"app"| step2\n'
        '    step1 -->|"clock, hub"| step2\n'
    )


DOT = (
    'digraph "worker" {\n'
    "    node [shape=box];\n"
    '    given0 [label="app", shape=ellipse];\n'
    '    step0 [label="alone"];\n'
    '    step1 [label="hub"];\n'
    '    step2 [label="a \\"pool\\" #1"];\n'
    '    given0 -> step1 [label="app"];\n'
    '    given0 -> step2 [label="app"];\n'
    '    step1 -> step2 [label="clock, hub"];\n'
    "}\n"
)


def test_dot_draws_the_same(graph: Graph) -> None:
    assert draw(graph, "dot", title="worker") == DOT


def test_an_unknown_format_names_the_nearest(graph: Graph) -> None:
    with pytest.raises(ConfigurationError, match=r"No format 'mermade'\. Did you mean 'mermaid'\? Formats: text, merm"):
        draw(graph, "mermade")


# -- svg: the program `dot`, played by a script ----------------------------------------------------


def install_dot(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    program = folder / "dot"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{source}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


needs_scripts = pytest.mark.skipif(os.name == "nt", reason="a script with a first line of #! stands for the program")


@needs_scripts
def test_svg_is_what_dot_makes_of_the_graph(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_dot(tmp_path, monkeypatch, "print('<svg>', sys.argv[1:], sys.stdin.read(), end='')")

    assert draw(graph, "svg", title="worker") == f"<svg> ['-Tsvg'] {DOT}"


def test_svg_without_graphviz_says_what_to_install(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match=r"needs Graphviz, .*apt install graphviz.* or use --format mermaid"):
        draw(graph, "svg")


@needs_scripts
def test_svg_tells_what_dot_complained_of(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_dot(tmp_path, monkeypatch, "sys.stdin.read(); sys.exit('no fonts')")

    with pytest.raises(ConfigurationError, match=r"'dot' failed with code 1: no fonts\. Use --format dot"):
        draw(graph, "svg")


@needs_scripts
def test_svg_does_not_wait_for_ever(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_dot(tmp_path, monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(drawing, "_DOT_TIMEOUT", 0.05)

    with pytest.raises(ConfigurationError, match=r"did not finish within 0\.05 s\. Use --format mermaid or dot"):
        draw(graph, "svg")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")
def test_graphviz_reads_what_is_drawn(graph: Graph) -> None:
    assert "</svg>" in draw(graph, "svg")


def test_networkx_is_loaded_by_making_a_graph_and_not_before() -> None:
    program = (
        "import sys, celeriac.kernel.boot, celeriac.kernel.drawing, celeriac.kernel.hooks\n"
        "before = 'networkx' in sys.modules\n"
        "celeriac.kernel.boot.Graph([])\n"
        "print(before, 'networkx' in sys.modules)\n"
    )

    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert said == "False True\n"
