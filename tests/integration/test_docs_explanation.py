"""The explanation speaks of the code as it is: its files exist, and what it counts and names is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tree import ROOT, repository

from celeriac.config.table import TABLE
from celeriac.model.outcome import Action
from celeriac.runtime import prefetch, rebalance
from celeriac.runtime.consumer_steps import CONSUMER_STEPS
from celeriac.runtime.shutdown import Level
from celeriac.runtime.worker_steps import WORKER_STEPS

EXPLANATION = ROOT / "docs" / "explanation"
CORE = ROOT / "core" / "src" / "celeriac"
READING_PATH = (EXPLANATION / "reading-path.md").read_text(encoding="utf-8")
RECORDS = sorted(path for path in (EXPLANATION / "decisions").glob("*.md") if path.stem != "index")
PAGES = [path for path in repository().files if path.suffix == ".md" and path.is_relative_to(EXPLANATION)]


def files() -> list[str]:
    return re.findall(r"`([\w/]+\.py)`", READING_PATH)


@pytest.mark.parametrize("name", files())
def test_every_file_of_the_reading_path_exists(name: str) -> None:
    places = [CORE / name, *(distribution.folder / "src" / name for distribution in repository().plugins)]

    assert any(place.is_file() for place in places)


def test_the_reading_path_has_every_file_of_the_runtime() -> None:
    runtime = {f"runtime/{path.name}" for path in (CORE / "runtime").glob("*.py")} - {"runtime/__init__.py"}

    assert runtime <= set(files())


def test_the_reading_path_has_five_files() -> None:
    numbered = re.findall(r"(?m)^(\d)\. `[\w/]+\.py`", READING_PATH)

    assert numbered == list("12345")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    families = "broker|result|task|worker"
    named = set(re.findall(rf"`((?:{families})_[a-z_]+)`", page.read_text(encoding="utf-8")))

    events = {"task_settled"}
    assert named - set(TABLE) - events == set()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_every_decision_has_its_four_parts(record: Path) -> None:
    text = record.read_text(encoding="utf-8")

    assert re.findall(r"(?m)^\*\*([A-Z][a-z ]+)\.\*\*", text) == ["Problem", "Choice", "Why", "Turned down"]


def test_the_numbers_of_prefetch_are_those_of_the_code() -> None:
    text = " ".join((EXPLANATION / "decisions" / "prefetch.md").read_text(encoding="utf-8").split())

    assert f"{prefetch.TARGET_SECONDS * 1000:.0f} ms" in text
    assert rebalance.STALL_SECONDS == 1.0
    assert "for a second" in text


def test_both_blueprints_and_their_steps_are_as_the_page_says() -> None:
    text = (EXPLANATION / "boot-graph.md").read_text(encoding="utf-8")

    assert "Its step `consumer` keeps the connection" in text
    assert "consumer" in {step.name for step in WORKER_STEPS}
    assert {step.name for step in WORKER_STEPS} & {step.name for step in CONSUMER_STEPS} == set()


def test_the_steps_of_a_stop_and_the_ends_of_a_message_are_those_of_the_code() -> None:
    stopping = (EXPLANATION / "stopping.md").read_text(encoding="utf-8")
    glossary = (ROOT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8")

    assert [name.lower() for name in re.findall(r"\*\*(\w+)\.\*\*", stopping)] == [
        level.name.lower() for level in Level if level is not Level.RUN
    ]
    assert len(Action) == 4
    assert "acknowledge, release, dead letter, park" in glossary


def test_every_page_that_the_code_names_exists() -> None:
    named = {name for module in repository().modules for name in re.findall(r"docs/[\w/-]+\.md", module.text)}

    assert len(named) > 3
    assert {name for name in named if not (ROOT / name).is_file()} == set()
