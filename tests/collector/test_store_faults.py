"""What the collector does about a damaged store: each fault is made on the real engine's files."""

from __future__ import annotations

import json
import re
import secrets
import signal
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.conftest import Collector

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def one_span() -> tuple[str, bytes]:
    """A trace id, and a request with its only span."""
    trace_id = secrets.token_bytes(16)
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=trace_id, span_id=secrets.token_bytes(8), name="s" * 1000)
    return trace_id.hex(), request.SerializeToString()


def store_one_span(collector: Collector) -> str:
    trace_id, body = one_span()
    assert collector.post("/v1/traces", body, PROTOBUF).status == 200
    return trace_id


def span_parts(folder: Path) -> list[Path]:
    """The data files of the parts of `spans`, oldest first."""
    columns = (folder / "engine" / "store").glob("*/*/2*_*_*_*/columns.txt")
    parts = [
        path.with_name("data.bin") for path in columns if "`parent_span_id`" in path.read_text()
    ]
    return sorted(parts, key=lambda part: part.stat().st_mtime_ns)


def checks(logged: str) -> list[str]:
    """The findings of a start, in order, with N for each number that stands alone."""
    found = re.findall(r"(INFO|WARNING) \S+ store check: (.*)", logged)
    return [re.sub(r"\b[0-9]+\b", "N", f"{level} {text}") for level, text in found]


def test_a_start_says_in_a_line_each_what_it_found_and_did(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    first = start_collector(folder)
    kept, lost = store_one_span(first), store_one_span(first)
    first.process.send_signal(signal.SIGKILL)
    _, logged_first = first.process.communicate(timeout=60)
    (folder / "incoming" / "tmpbody.raw").write_bytes(b"half a body")
    broken = span_parts(folder)[1]
    broken.write_bytes(broken.read_bytes()[:-100])
    second = start_collector(folder)
    found = [second.get(f"/api/v3/traces/{trace_id}").status for trace_id in (kept, lost)]
    logged_second = second.stop()

    assert checks(logged_first) == [
        "INFO disk: N of N MB are free",
        "INFO incoming: nothing was left",
        "INFO schema: was new, is version N now",
        "INFO parts: N in N tables, N rows, N MB",
        "INFO broken parts: none",
    ]
    assert checks(logged_second) == [
        "INFO disk: N of N MB are free",
        "INFO incoming: removed N unfinished bodies of N bytes, none of which was acknowledged",
        "INFO schema: version N",
        "INFO parts: N in N tables, N rows, N MB",
        (
            "WARNING broken parts: N of spans (N bytes) are set aside and not read:"
            f" broken-on-start_{broken.parent.name}"
        ),
    ]
    assert found == [200, 404]


def test_a_part_that_turns_out_to_be_broken_is_set_aside_and_the_rest_is_read(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    collector = start_collector(folder)
    kept, lost = store_one_span(collector), store_one_span(collector)
    broken = span_parts(folder)[1]
    with broken.open("r+b") as file:
        file.seek(broken.stat().st_size // 2)
        file.write(bytes(64))
    statuses = [collector.get(f"/api/v3/traces/{trace_id}").status for trace_id in (lost, kept)]
    later = store_one_span(collector)
    seen = collector.get(f"/api/v3/traces/{later}")
    logged = collector.stop()

    assert statuses == [404, 200]
    assert len(json.loads(seen.body)["result"]["resourceSpans"]) == 1
    assert f"part {broken.parent.name} of spans is broken: it is set aside" in logged
