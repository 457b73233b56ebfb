"""The glossary has the words that the interfaces and the pages speak in, and no word that nothing uses."""

from __future__ import annotations

import re

import pytest
from tree import ROOT, repository

from celeriac.kernel import plugins
from celeriac.model.outcome import Action

GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
TERMS = re.findall(r"(?m)^## (.+)$", GLOSSARY.read_text(encoding="utf-8"))
OF_THE_WORKER = {
    "admission",
    "capability",
    "coordinator",
    "dead letter",
    "delivery",
    "fencing token",
    "follow-up",
    "generation",
    "hand back",
    "holder",
    "lease",
    "letter",
    "outcome",
    "park",
    "prefetch",
    "replay",
    "request",
    "retain",
    "settlement",
    "slot",
    "verdict",
}
KINDS = {
    "results": "result store",
    "command": None,
    "hooks": "hook",
    "option": None,
    "harness": "harness",
    "schedule": None,
}
ACTIONS = {Action.ACK: "acknowledge", Action.RELEASE: "hand back", Action.DEAD: "dead letter", Action.PARK: "park"}


def test_the_words_of_the_worker_are_there() -> None:
    assert set(TERMS) >= OF_THE_WORKER


def test_the_kinds_of_plugins_are_there() -> None:
    kinds = {KINDS.get(kind, kind) for kind in plugins.KINDS} - {None}

    assert set(TERMS) >= kinds


def test_what_becomes_of_a_message_is_there() -> None:
    assert set(TERMS) >= {ACTIONS[action] for action in Action}


@pytest.mark.parametrize("term", TERMS)
def test_every_word_of_the_glossary_is_used(term: str) -> None:
    word = re.compile(re.escape(term).replace("\\ ", r"\s+"), re.IGNORECASE)
    others = [path for path in repository().files if path.suffix == ".md" and path != GLOSSARY]
    sources = [module.path for module in repository().core.modules]

    assert any(word.search(path.read_text(encoding="utf-8")) for path in [*others, *sources])
