from __future__ import annotations

from lambdatrace_collector.metering import (
    SERIES_MAX,
    Counter,
    Histogram,
    ObservedGauge,
    prometheus_text,
)


def test_instruments_are_told_in_prometheus_text_with_opentelemetry_s_names() -> None:
    counter = Counter("lambdatrace.collector.refused", "", "Requests not done.")
    histogram = Histogram("http.server.request.duration", "s", "Time.", (0.005, 1.0))
    gauge = ObservedGauge("process.memory.usage", "By", "Memory.", lambda: [((), 3.0)])
    unused = Counter("unused", "", "Nothing yet.")
    counter.add(1, ("error.type", 'a "b"\n\\c'))
    counter.add(2, ("error.type", 'a "b"\n\\c'))
    for seconds in (0.005, 0.25, 7):
        histogram.record(seconds, ("http.route", "/"))

    assert prometheus_text((counter, histogram, gauge, unused)) == (
        "# HELP lambdatrace_collector_refused_total Requests not done.\n"
        "# TYPE lambdatrace_collector_refused_total counter\n"
        'lambdatrace_collector_refused_total{error_type="a \\"b\\"\\n\\\\c"} 3\n'
        "# HELP http_server_request_duration_seconds Time.\n"
        "# TYPE http_server_request_duration_seconds histogram\n"
        'http_server_request_duration_seconds_bucket{http_route="/",le="0.005"} 1\n'
        'http_server_request_duration_seconds_bucket{http_route="/",le="1"} 2\n'
        'http_server_request_duration_seconds_bucket{http_route="/",le="+Inf"} 3\n'
        'http_server_request_duration_seconds_sum{http_route="/"} 7.255\n'
        'http_server_request_duration_seconds_count{http_route="/"} 3\n'
        "# HELP process_memory_usage_bytes Memory.\n"
        "# TYPE process_memory_usage_bytes gauge\n"
        "process_memory_usage_bytes 3\n"
    )


def test_sets_of_attributes_beyond_the_bound_are_counted_as_one() -> None:
    counter = Counter("c", "", "")
    histogram = Histogram("h", "", "", (1.0,))
    for number in range(SERIES_MAX + 3):
        counter.add(1, ("id", str(number)))
        histogram.record(1, ("id", str(number)))

    overflow = (("otel.metric.overflow", "true"),)
    assert len(counter.sums) == SERIES_MAX + 1
    assert counter.sums[overflow] == 3
    assert [s.value for s in histogram.samples() if s.labels == overflow] == [3, 3]
