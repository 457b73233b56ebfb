"""Messages and tables as AMQP may carry them, for tests of what reads and writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from celeriac_amqp.frames import Properties

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | TEXT
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))
    | st.integers(-(1 << 31) + 1, (1 << 31) - 1).map(lambda number: Decimal(number).scaleb(-3))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
TABLES = st.dictionaries(TEXT, VALUES, max_size=8)

SHORT = st.none() | TEXT
OCTET = st.none() | st.integers(0, 255)
PROPERTIES = st.builds(
    Properties, content_type=SHORT, content_encoding=SHORT, delivery_mode=OCTET, priority=OCTET, correlation_id=SHORT,
    reply_to=SHORT, expiration=SHORT, message_id=SHORT, timestamp=st.none() | st.integers(0, 1 << 40), type=SHORT,
    user_id=SHORT, app_id=SHORT, cluster_id=SHORT,
)  # fmt: skip
HEADERS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.integers(0, 9), max_size=3)
