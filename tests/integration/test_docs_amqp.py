"""The pages on RabbitMQ name every option with its default, every scheme, and every queue and header that is made."""

from __future__ import annotations

import re
import tomllib

import pytest
from tree import ROOT

from celeriac.kernel import plugins

pytest.importorskip("celeriac_amqp.plugin")
from celeriac_amqp.plugin import RESULT_OPTIONS, TRANSPORT_OPTIONS

REFERENCE = (ROOT / "docs/reference/amqp.md").read_text()
EXPLANATION = (ROOT / "docs/explanation/rabbitmq.md").read_text()


def test_each_option_has_one_line_with_its_default():
    told = {}
    for names, default in re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)*) \| (`[^`]+`|empty) \| [^|]+ \|$", REFERENCE):
        for name in re.findall(r"`(\w+)`", names):
            assert name not in told
            told[name] = "" if default == "empty" else default.strip("`")

    options = {**TRANSPORT_OPTIONS, **RESULT_OPTIONS}
    assert told == {name: str(option.default) for name, option in options.items()}


def test_each_scheme_is_among_the_addresses():
    groups = tomllib.loads((ROOT / "bundles/amqp/pyproject.toml").read_text())["project"]["entry-points"]

    told = set(re.findall(r"(?m)^\| `([a-z+]+)://", REFERENCE))

    assert set(groups["celeriac.transports"]) | set(groups["celeriac.results"]) == told
    assert set(groups["celeriac.transports"]) <= set(plugins.names("transport"))


def test_each_header_and_queue_of_ours_is_explained():
    pytest.importorskip("amqp")
    from celeriac_amqp.delays import DELIVERY_EXCHANGE, ENTRY_EXCHANGE  # noqa: PLC0415  needs the driver
    from celeriac_amqp.letters import LETTER_QUEUES  # noqa: PLC0415  as above
    from celeriac_amqp.messages import OWN_HEADERS  # noqa: PLC0415  as above

    names = {*OWN_HEADERS, *LETTER_QUEUES.values(), DELIVERY_EXCHANGE, ENTRY_EXCHANGE}
    shortened = EXPLANATION.replace("`-", "`x-celeriac-")
    assert {name for name in names if f"`{name}`" not in shortened} == set()
