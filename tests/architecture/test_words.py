"""Words that do not belong in tracked files, and the one word per idea of the glossary."""

from __future__ import annotations

import re

import pytest
from tree import ROOT, repository

TEXTS = [
    path
    for path in repository().files
    if path.suffix in {".md", ".py", ".toml", ".yaml", ".yml", ".cfg", ".txt", ".json"} or path.name == "run"
]
SELF = ROOT / "tests" / "architecture" / "test_words.py"
GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"

FORBIDDEN = {
    "a path of somebody's machine": re.compile(r"/(home|Users|root|work)/[a-z]|[A-Z]:\\Users"),
    "a registry's host": re.compile(
        r"pypi\.org|pythonhosted|npmjs\.(org|com)|registry\.[a-z]+\.(org|com|io)|artifactory|devpi", re.IGNORECASE
    ),
    "a mark of unfinished work": re.compile(r"\b(TODO|FIXME|XXX)\b"),
    "a merge conflict": re.compile(r"^(<{7}|>{7}) ", re.MULTILINE),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what: str) -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1} {match.group()!r}"
        for path in TEXTS
        if path != SELF
        for text in [path.read_text(encoding="utf-8")]
        for match in FORBIDDEN[what].finditer(text)
    ]

    assert not offences, "\n".join(offences)


def glossary_terms() -> list[str]:
    return re.findall(r"(?m)^## (.+)$", GLOSSARY.read_text())


def test_the_glossary_is_sorted_and_defines_each_term_once() -> None:
    terms = [term.lower() for term in glossary_terms()]

    assert terms == sorted(set(terms))
    assert set(terms) >= {
        "message", "task", "delivery", "outcome", "verdict", "queue", "lease", "step", "plugin", "bundle",
    }  # fmt: skip


def test_the_docs_use_the_words_of_the_glossary_and_not_their_rivals() -> None:
    replaced = dict(re.findall(r"(?m)^Not: (?P<rival>[a-z -]+)\. Say: (?P<term>[a-z -]+)\.$", GLOSSARY.read_text()))
    assert replaced

    offences = [
        f"{path.relative_to(ROOT)}: {rival!r}, say {replaced[rival]!r}"
        for path in TEXTS
        if path.suffix == ".md" and path != GLOSSARY and "decisions" not in path.parts
        for rival in replaced
        if re.search(rf"\b{rival}s?\b", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]

    assert not offences, "\n".join(offences)
