from __future__ import annotations

import pytest

from celeriac.config.embedded import EMBEDDED_URL, broker_url, result_url
from celeriac.config.settings import Settings


@pytest.mark.parametrize(
    ("given", "broker", "results"),
    [
        ({}, EMBEDDED_URL, EMBEDDED_URL),
        ({"broker_url": "memory://"}, "memory://", "memory://"),
        ({"broker_url": "redis://h"}, "redis://h", None),
        ({"broker_url": "redis://h", "result_backend": "redis://h"}, "redis://h", "redis://h"),
        ({"result_backend": "disabled"}, EMBEDDED_URL, None),
        ({"result_backend": "disabled://"}, EMBEDDED_URL, None),
        ({"result_backend": "file:///d"}, EMBEDDED_URL, "file:///d"),
    ],
)
def test_results_are_kept_by_an_embedded_broker_and_elsewhere_only_where_it_is_said(
    given: dict[str, str], broker: str, results: str | None
) -> None:
    conf = Settings(keywords=given)

    assert (broker_url(conf), result_url(conf)) == (broker, results)
