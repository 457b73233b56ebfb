"""The two codecs; what needs the one in C is skipped, or fails, where that is missing."""

from __future__ import annotations

from unittest import SkipTest

import pytest

from celeriac_amqp.codec import Codec
from celeriac_librabbitmq import testing


@pytest.fixture(scope="session")
def native() -> Codec:
    try:
        return testing.native()
    except SkipTest as reason:
        pytest.skip(str(reason))
