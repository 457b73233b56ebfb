import pytest

from celeriac import Signature, chain, chord, group
from celeriac.client.canvas import composing  # noqa: F401  makes `|` work
from celeriac.client.canvas.drawing import draw
from celeriac.errors import ConfigurationError


def s(name, *args):
    return Signature(name, args)


FLOW = chain(s("fetch", 'a"<b>'), group(s("crop", 1), s("crop", 2)), s("store").on_error(s("alarm")))


def test_a_workflow_is_shown_as_a_tree():
    assert draw(FLOW) == (
        "chain of 2\n"
        "  1 fetch('a\"<b>')\n"
        "  2 chord of 2\n"
        "    - crop(1)\n"
        "    - crop(2)\n"
        "    body store()\n"
        "      on failure alarm()\n"
    )


def test_a_flow_chart_has_a_node_for_each_task_and_an_arrow_for_each_way():
    chart = FLOW.to_mermaid()

    assert chart.startswith("flowchart TD\n")
    assert chart.count("-->|all|") == 2
    assert chart.count(" --> ") == 2
    assert "-.->|on failure|" in chart
    assert 'subgraph g1["header of 2"]' in chart
    assert "<b>" not in chart


def test_a_graph_of_graphviz_is_quoted_and_balanced():
    dot = FLOW.to_dot()

    assert dot.startswith("digraph workflow {")
    assert dot.count("{") == dot.count("}") == 2
    assert 'label="fetch(\'a\\"<b>\')"' in dot


@pytest.mark.parametrize("large", [group(s("t", n) for n in range(40)), chord([s("t")] * 40, s("all"))])
@pytest.mark.parametrize("form", ["text", "mermaid", "dot"])
def test_of_a_large_group_the_first_members_are_drawn_and_the_rest_is_counted(large, form):
    drawn = draw(large, form)

    assert "… and 28 more" in drawn
    assert len(drawn.splitlines()) < 40


def test_a_format_that_does_not_exist_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="mermaid"):
        draw(FLOW, "mermaidd")
