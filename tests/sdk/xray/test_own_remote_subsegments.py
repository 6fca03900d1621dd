from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import requests
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.ext import util

from lambdatrace.records import CLIENT
from tests.sdk.patches.test_http import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.testing import Recorded
    from tests.sdk.patches.conftest import WebServer

    Handle = Callable[[Callable[[], Any]], Any]


@pytest.mark.parametrize("namespace", ["remote", "local"])
@pytest.mark.parametrize("get", LIBRARIES)
def test_a_request_in_a_subsegment_of_the_users_is_recorded_and_carries_the_trace(
    recorded: Recorded,
    handle: Handle,
    web: WebServer,
    get: Callable[[str], int],
    namespace: str,
) -> None:
    def call() -> int:
        with xray_recorder.in_subsegment("stock", namespace=namespace):
            return get(f"{web.url}/200")

    assert handle(call) == 200
    span = recorded.span("GET")
    assert span.parent is not None
    assert span.parent.span_id == recorded.span("stock").span_id
    (head,) = web.heads
    assert head["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
    assert f"Parent={span.span_id}" in head["x-amzn-trace-id"]


def test_a_request_that_names_its_remote_subsegment_has_that_as_its_span(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    def call() -> None:
        with xray_recorder.in_subsegment("stock", namespace="remote") as subsegment:
            headers: dict[str, str] = {}
            util.inject_trace_header(headers, subsegment)
            requests.get(f"{web.url}/200", headers=headers, timeout=5)
            request = urllib.request.Request(f"{web.url}/200", headers=headers)
            urllib.request.urlopen(request, timeout=5).close()

    handle(call)
    assert {span.name for span in recorded.spans if span.kind == CLIENT} == {"stock"}
    parents = [head["traceparent"].split("-")[2] for head in web.heads]
    assert parents == [recorded.span("stock").span_id] * 2
