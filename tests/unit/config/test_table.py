from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.config.settings import Settings
from celeriac.config.table import TABLE
from celeriac.config.values import accept
from celeriac.errors import UnknownSetting


@pytest.mark.parametrize("name", TABLE)
def test_every_default_is_a_value_its_setting_takes(name: str) -> None:
    setting = TABLE[name]

    assert accept(setting, setting.default, source="default") == setting.default


@pytest.mark.parametrize("name", TABLE)
def test_every_setting_has_one_line_of_documentation_and_a_lower_case_name(name: str) -> None:
    setting = TABLE[name]

    assert setting.doc.endswith(".")
    assert "\n" not in setting.doc
    assert name == name.lower() == setting.name


def test_no_setting_hides_a_method_of_settings() -> None:
    methods = {name for name in vars(Settings) if not name.startswith("__")}

    assert not methods & set(TABLE)


@given(st.data())
def test_every_name_with_one_letter_dropped_is_refused_and_suggested(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(TABLE)))
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:at] + name[at + 1 :]
    rivals = difflib.get_close_matches(wrong, TABLE, n=2, cutoff=0.0)
    scores = [difflib.SequenceMatcher(None, each, wrong).ratio() for each in rivals]
    ambiguous = scores[0] == scores[1]

    with pytest.raises(UnknownSetting) as caught:
        Settings(keywords={wrong: None})

    text = str(caught.value)
    assert repr(wrong) in text
    assert ambiguous or f"Did you mean {name!r}?" in text or wrong.startswith("_")


def test_the_defaults_are_the_safe_ones() -> None:
    conf = Settings()

    assert conf.task_acks_late is True
    assert conf.task_reject_on_worker_lost is True
    assert conf.task_max_deliveries == 20
    assert conf.accept_content == ("json",)
