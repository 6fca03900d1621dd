from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import lambdatrace
from lambdatrace.errors import SettingError
from lambdatrace.propagators import inject, parse_propagators, read_upstream
from lambdatrace.records import Carried, SpanContext
from lambdatrace.settings import PROPAGATORS_DEFAULT, Settings
from lambdatrace.testing import LambdaContext, recording

ONE, TWO = "0af7651916cd43dd8448eb211c80319c", "5759e988bd862e3fe1be46a994272793"
SPAN, OTHER = "b7ad6b7169203331", "53995c3f42cd8ad8"

W3C = {"traceparent": f"00-{ONE}-{SPAN}-01"}
X_RAY = {"X-Amzn-Trace-Id": f"Root=1-{TWO[:8]}-{TWO[8:]};Parent={OTHER};Sampled=1"}
B3 = {"b3": f"{TWO}-{OTHER}-1"}


def header(trace_id: str = TWO, sampled: str = "1", more: str = "") -> str:
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={OTHER};Sampled={sampled}{more}"


def upstream(
    names: str, carrier: dict[str, str], trace_header: str | None = None, *, is_x_ray: bool = False
) -> tuple[str | None, str | None]:
    """Trace and span id of the parent; without one, the trace id to take."""
    found = read_upstream(
        parse_propagators(names), [carrier], trace_header, is_sampling_of_x_ray=is_x_ray
    )
    if found.parent is not None:
        return found.parent.trace_id, found.parent.span_id
    return found.trace_id, None


@pytest.mark.parametrize(
    ("names", "carrier", "trace_header", "expected"),
    [
        ("xray,tracecontext,baggage", {**W3C, **X_RAY}, None, (ONE, SPAN)),
        ("tracecontext,xray", {**W3C, **X_RAY}, None, (TWO, OTHER)),
        ("xray,tracecontext,baggage", X_RAY, None, (TWO, OTHER)),
        ("xray,tracecontext,baggage", {}, header(), (TWO, OTHER)),
        ("xray,tracecontext,baggage", {}, header(sampled="0"), (TWO, None)),
        ("xray,tracecontext,baggage", W3C, header(), (ONE, SPAN)),
        ("xray-lambda", {}, header(sampled="0"), (TWO, OTHER)),
        ("xray-lambda,tracecontext", W3C, header(), (ONE, SPAN)),
        ("tracecontext,xray-lambda", W3C, header(), (ONE, SPAN)),
        ("tracecontext,xray-lambda", {**W3C, **X_RAY}, None, (TWO, OTHER)),
        ("b3", B3, None, (TWO, OTHER)),
        ("b3multi", B3, None, (TWO, OTHER)),
        ("tracecontext", {**B3, **X_RAY}, None, (None, None)),
        ("none", {**W3C, **X_RAY, **B3}, header(), (None, None)),
        ("tracecontext", {}, header(), (TWO, OTHER)),
        ("tracecontext", {"traceparent": "rubbish"}, "rubbish", (None, None)),
    ],
)
def test_the_last_of_the_propagators_that_finds_a_context_gives_it(
    names: str,
    carrier: dict[str, str],
    trace_header: str | None,
    expected: tuple[str | None, str | None],
) -> None:
    assert upstream(names, carrier, trace_header) == expected


def test_lambdas_own_header_goes_before_one_of_the_same_trace_in_the_event() -> None:
    far = {"x-amzn-trace-id": f"Root=1-{TWO[:8]}-{TWO[8:]};Parent={SPAN};Sampled=1"}
    assert upstream("xray,tracecontext", far, header()) == (TWO, OTHER)
    assert upstream("xray,tracecontext", far, header(ONE)) == (TWO, SPAN)


def test_where_x_ray_samples_its_unsampled_header_is_the_parent() -> None:
    found = read_upstream(["xray"], [], header(sampled="0"), is_sampling_of_x_ray=True)
    assert found.parent is not None
    assert not found.parent.is_sampled


def test_headers_of_the_event_go_before_those_of_the_client_context() -> None:
    found = read_upstream(
        ["tracecontext", "baggage"],
        [
            {"Traceparent": W3C["traceparent"]},
            {"traceparent": f"00-{TWO}-{OTHER}-01", "baggage": "a=1"},
        ],
        None,
        is_sampling_of_x_ray=False,
    )
    assert found.parent is not None
    assert found.parent.trace_id == ONE
    assert found.carried is not None
    assert found.carried.baggage == "a=1"


CONTEXT = SpanContext(
    ONE, SPAN, trace_state="vendor=1", carried=Carried("tenant=7", "1:0399f0f7:0")
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            "xray,tracecontext,baggage",
            {
                "X-Amzn-Trace-Id": f"Root=1-{ONE[:8]}-{ONE[8:]};Parent={SPAN};Sampled=1"
                ";Lineage=1:0399f0f7:0",
                "traceparent": f"00-{ONE}-{SPAN}-01",
                "tracestate": "vendor=1",
                "baggage": "tenant=7",
            },
        ),
        ("b3", {"b3": f"{ONE}-{SPAN}-1"}),
        ("b3multi", {"x-b3-traceid": ONE, "x-b3-spanid": SPAN, "x-b3-sampled": "1"}),
        ("none", {}),
    ],
)
def test_each_propagator_writes_its_headers(names: str, expected: dict[str, str]) -> None:
    carrier: dict[str, str] = {}
    inject(CONTEXT, carrier, parse_propagators(names))
    assert carrier == expected


trace_ids = st.integers(1, (1 << 128) - 1).map(lambda number: f"{number:032x}")
span_ids = st.integers(1, (1 << 64) - 1).map(lambda number: f"{number:016x}")

PEERS: dict[str, Any] = {
    "tracecontext": TraceContextTextMapPropagator(),
    "xray": AwsXRayPropagator(),
    "b3": B3SingleFormat(),
    "b3multi": B3MultiFormat(),
}


@pytest.mark.parametrize("name", list(PEERS))
@given(trace_id=trace_ids, span_id=span_ids, is_sampled=st.booleans())
def test_opentelemetry_reads_what_we_write_and_we_read_what_it_writes(
    name: str, trace_id: str, span_id: str, is_sampled: bool
) -> None:
    ours: dict[str, str] = {}
    inject(SpanContext(trace_id, span_id, is_sampled=is_sampled), ours, [name])
    context = PEERS[name].extract(ours)
    theirs = trace.get_current_span(context).get_span_context()
    assert (theirs.trace_id, theirs.span_id) == (int(trace_id, 16), int(span_id, 16))
    assert theirs.trace_flags.sampled == is_sampled
    written: dict[str, str] = {}
    PEERS[name].inject(written, context)
    found = read_upstream([name], [written], None, is_sampling_of_x_ray=False).parent
    assert found is not None
    assert (found.trace_id, found.span_id, found.is_sampled) == (trace_id, span_id, is_sampled)


@pytest.mark.parametrize(
    ("carrier", "expected"),
    [
        ({"b3": f"{TWO[16:]}-{OTHER}"}, ("0" * 16 + TWO[16:], OTHER, True)),
        ({"b3": f"{TWO}-{OTHER}-d"}, (TWO, OTHER, True)),
        ({"b3": f"{TWO}-{OTHER}-0-{SPAN}"}, (TWO, OTHER, False)),
        ({"b3": "0"}, None),
        ({"b3": f"{TWO}-{OTHER}zz-1"}, None),
        ({"X-B3-TraceId": TWO, "X-B3-SpanId": OTHER, "X-B3-Sampled": "false"}, (TWO, OTHER, False)),
        ({"X-B3-TraceId": TWO, "X-B3-SpanId": OTHER, "X-B3-Flags": "1"}, (TWO, OTHER, True)),
        ({"X-B3-TraceId": TWO}, None),
    ],
)
def test_b3_is_read_in_its_forms(
    carrier: dict[str, str], expected: tuple[str, str, bool] | None
) -> None:
    found = read_upstream(["b3"], [carrier], None, is_sampling_of_x_ray=False).parent
    assert expected == (found and (found.trace_id, found.span_id, found.is_sampled))


@given(
    st.dictionaries(st.text() | st.sampled_from(["b3", "traceparent", "baggage"]), st.text()),
    st.none() | st.text(),
)
def test_no_header_is_an_error(carrier: dict[str, str], trace_header: str | None) -> None:
    names = parse_propagators("b3,tracecontext,baggage,xray-lambda")
    read_upstream(names, [carrier], trace_header, is_sampling_of_x_ray=True)


@pytest.mark.parametrize(
    ("value", "unusable", "kept"),
    [
        ("tracecontext,jaeger,b3,ot", "jaeger,ot", ("tracecontext", "b3")),
        ("none,xray", "none", ("xray",)),
        ("jaeger", "jaeger", None),
        ("xray,xray-lambda", "xray,xray-lambda", None),
    ],
)
def test_a_propagator_that_is_not_there_is_named_and_the_others_are_kept(
    value: str, unusable: str, kept: tuple[str, ...] | None
) -> None:
    with pytest.raises(SettingError, match=f"OTEL_PROPAGATORS is '{unusable}': ") as raised:
        parse_propagators(value)
    assert raised.value.instead == kept
    settings = Settings.from_env({"OTEL_PROPAGATORS": value})
    assert settings.propagators == (kept or PROPAGATORS_DEFAULT)
    assert str(settings.errors[0]).endswith(f"; taken: {','.join(settings.propagators)}")


def test_baggage_and_lineage_go_on_to_whom_we_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header(more=";Lineage=1:0399f0f7:2;Self=1-x"))
    with recording() as recorded:

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> dict[str, str]:
            with lambdatrace.span("call") as span:
                return span.inject()

        carried = handler({}, LambdaContext(w3c={**W3C, "baggage": "tenant=7"}))
        call = recorded.span("call")
    assert carried == {
        "X-Amzn-Trace-Id": f"Root=1-{ONE[:8]}-{ONE[8:]};Parent={call.span_id};Sampled=1"
        ";Lineage=1:0399f0f7:2",
        "traceparent": f"00-{ONE}-{call.span_id}-01",
        "baggage": "tenant=7",
    }


@pytest.mark.parametrize(
    ("propagators", "is_recorded"),
    [
        ("", True),
        ("tracecontext,baggage", True),
        ("b3", True),
        ("xray-lambda", False),
        ("tracecontext,xray", False),
    ],
)
def test_lambdas_own_decision_counts_where_x_ray_is_named(
    monkeypatch: pytest.MonkeyPatch, propagators: str, is_recorded: bool
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header(sampled="0"))
    with recording({"OTEL_PROPAGATORS": propagators}) as recorded:
        lambdatrace.instrument(lambda _event, _context: None)({}, LambdaContext())
    assert (len(recorded.spans) > 0) == is_recorded


@pytest.mark.parametrize(
    ("keep", "fails", "expected"),
    [
        ("", True, [[], []]),
        ("errors", False, [[], []]),
        ("errors", True, [["work", "orders"], ["work", "orders"]]),
        ("cold_starts", True, [["work", "orders"], []]),
        ("errors,cold_starts", False, [["work", "orders"], []]),
    ],
)
def test_a_trace_that_is_sampled_out_is_kept_when_it_is_asked_for(
    keep: str, fails: bool, expected: list[list[str]]
) -> None:
    environment = {"OTEL_TRACES_SAMPLER": "always_off", "LAMBDATRACE_KEEP_UNSAMPLED": keep}
    with recording(environment) as recorded:

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> None:
            with lambdatrace.span("work"):
                if fails:
                    raise OSError("no")

        found = []
        for _ in range(2):
            del recorded.spans[:]
            with suppress(OSError):
                handler({}, LambdaContext())
            found.append([span.name for span in recorded.spans if "i" not in span.name])
    assert found == expected


@pytest.mark.parametrize(("keep", "expected"), [("errors", True), ("", False)])
def test_a_span_that_is_sampled_out_is_recording_while_it_may_yet_be_sent(
    keep: str, expected: bool
) -> None:
    environment = {"OTEL_TRACES_SAMPLER": "always_off", "LAMBDATRACE_KEEP_UNSAMPLED": keep}
    seen = []
    with recording(environment):

        @lambdatrace.instrument
        def handler(_event: object, _context: object) -> None:
            with lambdatrace.span("work") as span:
                seen.append(span.is_recording)
            seen.append(span.is_recording)
            with trace.get_tracer("theirs").start_as_current_span("theirs") as their_span:
                seen.append(their_span.is_recording())
                assert not their_span.get_span_context().trace_flags

        handler({}, LambdaContext())
    assert seen == [expected, False, expected]


def test_what_is_kept_says_that_it_is_sampled() -> None:
    environment = {"OTEL_TRACES_SAMPLER": "always_off", "LAMBDATRACE_KEEP_UNSAMPLED": "cold_starts"}
    with recording(environment) as recorded:
        lambdatrace.instrument(lambda _event, _context: None)({}, LambdaContext())
    assert {span.context.is_sampled for span in recorded.spans} == {True}


def test_the_default_of_the_setting_loads_no_module_of_ours() -> None:
    settings = importlib.import_module("lambdatrace.settings")
    assert parse_propagators(",".join(settings.PROPAGATORS_DEFAULT)) == settings.PROPAGATORS_DEFAULT
