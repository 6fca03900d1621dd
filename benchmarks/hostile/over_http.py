"""Broken requests at a collector with its engine: each is answered, none with a 5xx."""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import re
import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from benchmarks.hostile.mutation import mutated_body
from lambdatrace_collector.aws.event_stream import CONTENT_TYPE as EVENT_STREAM

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_DEADLINE_S = 20
SENDERS = 4
WRONG_MAX = 20
SERVER_ERROR = 500
_NOT_IN_HEADERS = re.compile(r"[^\x20-\x7e\x80-\xff]")


@dataclass
class HttpReport:
    """What was sent, and what came back."""

    statuses: dict[int, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    wrong: list[tuple[int, str, bytes]] = field(default_factory=list)  # seed, answer, input

    @property
    def inputs(self) -> int:
        return sum(self.statuses.values())


def attack_over_http(
    url: str, seeds: Sequence[bytes], seconds: float, first_seed: int
) -> HttpReport:
    """Send mutations of `seeds`, as `wire.requests` gives them, for `seconds`."""
    report, lock = HttpReport(), threading.Lock()
    end = time.monotonic() + seconds

    def send(sender: int) -> None:
        connection = _connect(url)
        seed = first_seed + sender
        while time.monotonic() < end and len(report.wrong) < WRONG_MAX:
            content = mutated_body(Random(seed), seeds)
            began = time.perf_counter()
            try:
                status, answer = _exchange(connection, content)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = _connect(url)
                # A connection may be closed on us with a refusal that is lost; silence may not be.
                status, answer = (0, repr(error).encode())
            took_s = time.perf_counter() - began
            with lock:
                report.statuses[status] = report.statuses.get(status, 0) + 1
                report.slowest_s = max(report.slowest_s, took_s)
                if status >= SERVER_ERROR or took_s > ANSWER_DEADLINE_S:
                    shown = f"{status} after {took_s:.1f} s: {answer[:300]!r}"
                    report.wrong.append((seed, shown, content))
            seed += SENDERS
        connection.close()

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report


def offered(url: str, seeds: Sequence[bytes]) -> list[bytes]:
    """Those of `seeds` whose operations the collector has; they are sent once, in order."""
    found = []
    connection = _connect(url)
    for content in seeds:
        status, answer = _exchange(connection, content)
        if status != http.HTTPStatus.NOT_FOUND and b"InvalidAction" not in answer:
            found.append(content)
        if status >= SERVER_ERROR:
            raise SystemExit(f"a valid request is answered {status} {answer!r}: {content!r}")
    connection.close()
    return found


def _connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_DEADLINE_S)


def _exchange(connection: http.client.HTTPConnection, content: bytes) -> tuple[int, bytes]:
    line, _, body = content.partition(b"\n")
    method, path, headers = _head(line)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    if response.getheader("content-type") == EVENT_STREAM:  # it has no end of its own
        answer = response.read1(65536)
        connection.close()
        return response.status, answer
    return response.status, response.read()


def _head(line: bytes) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers that HTTP can carry, as near to the broken ones as may be."""
    method, path, headers = "POST", "/", {"x-amz-target": line.decode("latin-1")}
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
        given_method, given_path, given = json.loads(line)
        headers = {str(name): str(value) for name, value in given.items()}
        path = quote(str(given_path).encode("utf-8", "replace"))
        method = str(given_method) if str(given_method) in ("GET", "POST", "PUT") else "POST"
    clean = {
        re.sub(r"[^a-z0-9-]", "-", name.lower()) or "x": _NOT_IN_HEADERS.sub("?", value)
        for name, value in headers.items()
    }
    clean.pop("content-length", None)
    clean.pop("transfer-encoding", None)
    return method, "/" + path.lstrip("/")[:8000], clean
