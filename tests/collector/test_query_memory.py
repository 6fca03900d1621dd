"""The engine's limit of memory for a query: what wants more fails alone."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.collector.conftest import Collector

# One event that becomes 1.2 GB of text: a query has 300 MB.
MESSAGE = "a" * 200_000
GREEDY = f'fields strlen(replace(@message, "a", "{"b" * 6_000}")) as n | filter @message like /aaa/'
MODEST = "stats count(*) as n"
GREEDY_QUERIES = 4  # more than run at once: 2
PROCESS_BYTES_MAX = 1_200_000_000
DEADLINE_S = 60


def peak_bytes(process_id: int) -> int:
    """The most memory that the process had resident since it began."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def ended(logs: Any, query: str) -> dict[str, Any]:
    """The results of a query over all of the group, once it has ended."""
    now_s = int(time.time())
    query_id = logs.start_query(
        logGroupName="g", startTime=now_s - 3600, endTime=now_s + 3600, queryString=query
    )["queryId"]
    deadline = time.monotonic() + DEADLINE_S
    while True:
        results: dict[str, Any] = logs.get_query_results(queryId=query_id)
        if results["status"] not in ("Scheduled", "Running"):
            return results
        assert time.monotonic() < deadline, results
        time.sleep(0.05)


def test_a_query_that_wants_more_memory_than_it_may_have_fails_and_nothing_else_does(
    start_collector: Callable[..., Collector], tmp_path: Path
) -> None:
    collector = start_collector(tmp_path / "store")
    logs = collector.client("logs")
    logs.create_log_group(logGroupName="g")
    logs.create_log_stream(logGroupName="g", logStreamName="s")

    def write(message: str) -> None:
        event = {"timestamp": time.time_ns() // 1_000_000, "message": message}
        logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[event])

    write(MESSAGE)
    with ThreadPoolExecutor(GREEDY_QUERIES) as clients:
        greedy = [clients.submit(ended, logs, GREEDY) for _ in range(GREEDY_QUERIES)]
        written = 1
        while not all(query.done() for query in greedy):
            write(f"event {written}")
            written += 1
            found = logs.filter_log_events(logGroupName="g", filterPattern=f'"event {written - 1}"')
            assert [f"event {written - 1}"] == [event["message"] for event in found["events"]]

    assert [query.result()["status"] for query in greedy] == ["Failed"] * GREEDY_QUERIES
    modest = ended(logs, MODEST)
    assert (modest["status"], modest["results"]) == (
        "Complete",
        [[{"field": "n", "value": str(written)}]],
    )
    assert collector.get("/readyz").status == 200
    assert peak_bytes(collector.process.pid) < PROCESS_BYTES_MAX
    assert "MEMORY_LIMIT_EXCEEDED" in collector.stop()
