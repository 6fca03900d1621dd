from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdatrace import propagation
from lambdatrace.propagation import read_traceparent, read_x_ray, write_traceparent, write_x_ray
from lambdatrace.records import SpanContext

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"

trace_ids = st.integers(1, (1 << 128) - 1).map(lambda number: f"{number:032x}")
span_ids = st.integers(1, (1 << 64) - 1).map(lambda number: f"{number:016x}")


def facts(context: SpanContext | None) -> tuple[str, str, bool, str, bool] | None:
    if context is None:
        return None
    return (
        context.trace_id,
        context.span_id,
        context.is_sampled,
        context.trace_state,
        context.is_remote,
    )


@given(trace_ids, span_ids, st.booleans())
def test_a_traceparent_reads_back_as_it_was_written(
    trace_id: str, span_id: str, is_sampled: bool
) -> None:
    context = SpanContext(trace_id, span_id, is_sampled=is_sampled)
    assert facts(read_traceparent(write_traceparent(context))) == (
        trace_id,
        span_id,
        is_sampled,
        "",
        True,
    )


@given(trace_ids, span_ids, st.booleans(), st.sampled_from(["", "1:0399f0f7:0"]))
def test_an_x_ray_header_reads_back_as_it_was_written(
    trace_id: str, span_id: str, is_sampled: bool, lineage: str
) -> None:
    context = SpanContext(trace_id, span_id, is_sampled=is_sampled)
    header = read_x_ray(write_x_ray(context, lineage))
    assert header is not None
    assert (header.trace_id, header.parent_id, header.is_sampled, header.lineage) == (
        trace_id,
        span_id,
        is_sampled,
        lineage,
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "00",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01-extra",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
    ],
)
def test_an_invalid_traceparent_gives_no_context(value: object) -> None:
    assert read_traceparent(value) is None


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = read_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01-what-the-future-brings", "a=1")
    assert facts(context) == (TRACE_ID, SPAN_ID, True, "a=1", True)


def test_a_tracestate_above_the_limit_is_dropped_whole() -> None:
    context = read_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-01", "a=" + "1" * 511)
    assert facts(context) == (TRACE_ID, SPAN_ID, True, "", True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("Parent=53995c3f42cd8ad8;Sampled=1", None),
        ("Root=2-5759e988-bd862e3fe1be46a994272793", None),
        ("Root=1-5759e988-bd862e3fe1be46a99427279", None),
        ("Root=1-00000000-000000000000000000000000", None),
        (
            "Root=1-5759e988-bd862e3fe1be46a994272793",
            ("5759e988bd862e3fe1be46a994272793", None, None, ""),
        ),
        (
            "Self=1-1-1; Root=1-5759e988-bd862e3fe1be46a994272793;Parent=zz;Sampled=?",
            ("5759e988bd862e3fe1be46a994272793", None, None, ""),
        ),
        (
            (
                "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"
                ";Lineage=1:0399f0f7:0"
            ),
            ("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", False, "1:0399f0f7:0"),
        ),
    ],
)
def test_an_x_ray_header_gives_what_it_has(value: object, expected: object) -> None:
    header = read_x_ray(value)
    found = header and (header.trace_id, header.parent_id, header.is_sampled, header.lineage)
    assert found == expected


def test_context_is_found_under_keys_of_any_case() -> None:
    carrier = {7: "x", "TraceParent": f"00-{TRACE_ID}-{SPAN_ID}-00", "TraceState": "v=1"}
    assert facts(propagation.extract(carrier)) == (TRACE_ID, SPAN_ID, False, "v=1", True)


def test_only_a_header_with_a_parent_can_be_linked_to() -> None:
    assert propagation.link_context("Root=1-5759e988-bd862e3fe1be46a994272793") is None
    assert facts(
        propagation.link_context(
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
        )
    ) == ("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", True, "", True)
