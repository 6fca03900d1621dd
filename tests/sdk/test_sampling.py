from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from lambdatrace.errors import SettingError
from lambdatrace.records import SpanContext
from lambdatrace.sampling import ratio_sampler
from lambdatrace.tracing import follow_parent

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = SpanContext(TRACE_ID, "b7ad6b7169203331", is_sampled=True)
UNSAMPLED = SpanContext(TRACE_ID, "b7ad6b7169203331", is_sampled=False)


@pytest.mark.parametrize(
    ("name", "root", "under_sampled", "under_unsampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, True, False),
        ("parentbased_always_off", False, True, False),
    ],
)
def test_a_sampler_decides_for_roots_and_follows_parents_as_its_name_says(
    name: str, root: bool, under_sampled: bool, under_unsampled: bool
) -> None:
    sampler = ratio_sampler(name)
    assert sampler(TRACE_ID, None) is root
    assert sampler(TRACE_ID, SAMPLED) is under_sampled
    assert sampler(TRACE_ID, UNSAMPLED) is under_unsampled


def test_the_default_sampler_is_parentbased_always_on() -> None:
    for parent in (None, SAMPLED, UNSAMPLED):
        expected = ratio_sampler("parentbased_always_on")(TRACE_ID, parent)
        assert follow_parent(TRACE_ID, parent) is expected


@given(
    st.integers(1, (1 << 128) - 1),
    st.floats(0, 1).map(lambda share: round(share, 6)),
)
def test_a_ratio_keeps_the_traces_that_opentelemetry_keeps(number: int, share: float) -> None:
    decision = TraceIdRatioBased(share).should_sample(None, number, "x").decision
    expected = decision is Decision.RECORD_AND_SAMPLE
    assert ratio_sampler("traceidratio", str(share))(f"{number:032x}", None) is expected


@pytest.mark.parametrize("argument", ["ten", "1.5", "-1", "nan", ""])
def test_a_ratio_that_is_no_share_is_refused(argument: str) -> None:
    with pytest.raises(SettingError, match="expected a number from 0 to 1"):
        ratio_sampler("traceidratio", argument)
