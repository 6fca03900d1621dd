from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace.sinks.retry_after import http_date_s, retry_after_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("9" * 30, 999_999_999.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sun, 06 Nov 1994 08:48:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("Sun, 06 Nob 1994 08:49:37 GMT", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, x6 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_it_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    now_s = datetime(1994, 11, 6, 8, 49, 0, tzinfo=timezone.utc).timestamp()
    assert retry_after_s(value, now_s) == seconds


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - UTC is added
def test_any_date_is_read_as_email_writes_it(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone.utc)
    assert http_date_s(format_datetime(moment, usegmt=True)) == moment.timestamp()
