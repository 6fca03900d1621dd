from __future__ import annotations

import re

import pytest

from lambdatrace.harness.tracing import (
    ACTIVE,
    PASS_THROUGH,
    Sampler,
    recorded_segment,
    trace_header,
)

ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


def always() -> Sampler:
    return Sampler(share=lambda: 0.0)


def never() -> Sampler:
    return Sampler(clock_s=lambda: -1.0, share=lambda: 1.0)


def test_the_first_request_of_a_second_is_sampled_and_five_percent_of_the_others() -> None:
    now = [7.0]
    drawn = iter([0.049, 0.05, 0.9, 0.0])
    sampler = Sampler(lambda: now[0], lambda: next(drawn))
    assert [sampler.is_sampled() for _ in range(4)] == [True, True, False, False]
    now[0] = 7.999
    assert sampler.is_sampled(), "drawn"
    now[0] = 8.0
    assert sampler.is_sampled(), "the first of the next second draws nothing"


@pytest.mark.parametrize("mode", [ACTIVE, PASS_THROUGH])
@pytest.mark.parametrize("decision", ["0", "1"])
def test_a_callers_decision_is_kept(mode: str, decision: str) -> None:
    header = f"{ROOT};Parent=53995c3f42cd8ad8;Sampled={decision};Lineage=1:0:0"
    assert trace_header(header, mode, never(), "0399f0f7") == header
    assert trace_header(header, mode, always(), "0399f0f7") == header


@pytest.mark.parametrize("undecided", [ROOT, f"{ROOT};Sampled=?", f"Sampled=;{ROOT};"])
def test_without_a_decision_active_asks_the_sampler_and_pass_through_takes_none(
    undecided: str,
) -> None:
    assert trace_header(undecided, ACTIVE, always(), "0399f0f7") == f"{ROOT};Sampled=1"
    assert trace_header(undecided, ACTIVE, never(), "0399f0f7") == f"{ROOT};Sampled=0"
    assert trace_header(undecided, PASS_THROUGH, always(), "0399f0f7") == f"{ROOT};Sampled=0"


@pytest.mark.parametrize("incoming", ["", "Self=1-2-3", "Sampled=1", "Root="])
def test_without_a_trace_one_is_begun(incoming: str) -> None:
    begun = (
        r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=%s;Lineage=1:[0-9a-f]{8}:0"
    )
    for mode, sampler, decision in (
        (ACTIVE, always(), 1),
        (ACTIVE, never(), 0),
        (PASS_THROUGH, always(), 0),
    ):
        assert re.fullmatch(begun % decision, trace_header(incoming, mode, sampler, "0399f0f7"))


@pytest.mark.parametrize(
    ("header", "segment"),
    [
        (
            f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=1",
            ("1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8"),
        ),
        (f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=0", None),
        (f"{ROOT};Sampled=1", None),
        ("", None),
    ],
)
def test_a_request_is_recorded_where_its_header_says_so(
    header: str, segment: tuple[str, str] | None
) -> None:
    assert recorded_segment(header) == segment
