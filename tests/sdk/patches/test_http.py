from __future__ import annotations

import http.client
import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
import requests
import requests.adapters
import urllib3

import lambdatrace
import lambdatrace.testing
from lambdatrace.patches import leave, take_back
from lambdatrace.patches import requests as requests_patch
from lambdatrace.records import CLIENT, ERROR, UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.testing import Recorded
    from tests.sdk.patches.conftest import WebServer

    Handle = Callable[[Callable[[], Any]], Any]


def by_requests(url: str) -> int:
    return requests.get(url, timeout=5).status_code


def by_urllib3(url: str) -> int:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url).status


def by_urllib(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as response:
        return int(response.status)


def by_http_client(url: str) -> int:
    host, slash, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", slash + path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


LIBRARIES = [by_requests, by_urllib3, by_urllib, by_http_client]
each_library = pytest.mark.parametrize("get", LIBRARIES)


@each_library
def test_a_request_is_one_span_however_many_libraries_it_goes_through(
    recorded: Recorded, handle: Handle, web: WebServer, get: Callable[[str], int]
) -> None:
    assert handle(lambda: get(f"{web.url}/200?q=1&token=abc")) == 200
    (span,) = [span for span in recorded.spans if span.kind == CLIENT]
    assert span.name == "GET"
    assert span.scope.name in ("lambdatrace.patches.urllib3", "lambdatrace.patches.http.client")
    assert span.parent is not None
    assert span.parent.span_id == recorded.span("orders").span_id
    assert span.status_code == UNSET
    assert span.attributes == {
        "http.request.method": "GET",
        "url.full": f"{web.url}/200?q=1&token=REDACTED",
        "server.address": "127.0.0.1",
        "server.port": web.server_port,
        "http.response.status_code": 200,
    }
    (head,) = web.heads
    assert head["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
    assert head["x-amzn-trace-id"] == f"Root=1-00000000-{1:024x};Parent={span.span_id};Sampled=1"


@each_library
def test_an_answer_from_400_is_an_error_of_that_number(
    recorded: Recorded, handle: Handle, web: WebServer, get: Callable[[str], int]
) -> None:
    def call() -> None:
        try:
            assert get(f"{web.url}/404") == 404
        except HTTPError as error:  # urllib's way
            error.close()

    handle(call)
    span = recorded.span("GET")
    assert span.status_code == ERROR
    assert span.attributes["http.response.status_code"] == 404
    assert span.attributes["error.type"] == "404"
    assert span.events == []


@each_library
def test_a_failure_is_recorded_and_reaches_the_caller_unchanged(
    recorded: Recorded, handle: Handle, get: Callable[[str], int]
) -> None:
    def call() -> None:
        with pytest.raises((OSError, urllib3.exceptions.HTTPError)):
            get("http://127.0.0.1:9/")

    handle(call)
    spans = [span for span in recorded.spans if span.name == "GET"]
    assert spans
    for span in spans:
        assert span.status_code == ERROR
        assert [event.name for event in span.events] == ["exception"]
        assert "http.response.status_code" not in span.attributes


def test_a_context_of_the_callers_own_goes_out_unchanged(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = urllib.request.Request(f"{web.url}/200", headers={"TraceParent": own})

    def call() -> None:
        urllib.request.urlopen(request, timeout=5).close()
        requests.get(f"{web.url}/200", headers={"TraceParent": own}, timeout=5)

    handle(call)
    assert [head["traceparent"] for head in web.heads] == [own, own]
    assert ["x-amzn-trace-id" in head for head in web.heads] == [False, False]


def test_each_attempt_and_each_redirect_is_a_request_of_its_own(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    web.statuses = [503, 302, 200]

    def call() -> int:
        retry = urllib3.Retry(total=3, status_forcelist=[503], backoff_factor=0)
        with urllib3.PoolManager() as pool:
            return pool.request("GET", f"{web.url}/200", retries=retry).status

    assert handle(call) == 200
    spans = [span for span in recorded.spans if span.name == "GET"]
    assert [
        (span.attributes["http.response.status_code"], span.attributes.get("error.type"))
        for span in spans
    ] == [(503, "503"), (302, None), (200, None)]
    # As urllib3 counts: a redirect begins from the request as it first was.
    assert [span.attributes.get("http.request.resend_count") for span in spans] == [None, 1, 1]
    assert [head["traceparent"].split("-")[2] for head in web.heads] == [
        span.span_id for span in spans
    ]


def test_a_body_may_be_streamed_in_both_directions(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    def call() -> bytes:
        with requests.post(f"{web.url}/200", data=iter([]), stream=True, timeout=5) as response:
            return b"".join(response.iter_content(1))

    assert handle(call) == b"{}"
    assert recorded.span("POST").attributes["http.response.status_code"] == 200


def test_the_callers_headers_are_not_changed(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    headers = {"Accept": "text/plain"}
    with urllib3.PoolManager(headers=headers) as pool:
        handle(lambda: pool.request("GET", f"{web.url}/200"))
        handle(lambda: pool.request("GET", f"{web.url}/200", headers=headers))
    assert headers == {"Accept": "text/plain"}
    assert all("traceparent" in head for head in web.heads)


def test_an_adapter_that_sends_in_its_own_way_is_seen_above_it(
    recorded: Recorded, handle: Handle
) -> None:
    sent = []

    class OwnAdapter(requests.adapters.BaseAdapter):
        def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
            sent.append(dict(request.headers))
            response = requests.Response()
            response.status_code = 503
            response.request = request
            response.url = request.url
            response._content = b""
            return response

        def close(self) -> None:
            pass

    with requests.Session() as session:
        session.mount("http://", OwnAdapter())
        handle(lambda: session.get("http://user:password@example.com/path#there"))
    span = recorded.span("GET")
    assert span.scope.name == "lambdatrace.patches.requests"
    assert span.attributes["error.type"] == "503"
    assert "password" not in span.attributes["url.full"]
    assert span.attributes["server.port"] == 80
    assert sent[0]["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"


def test_the_runtime_api_and_the_telemetrys_own_endpoint_are_nobodys_business(
    handle: Handle, web: WebServer
) -> None:
    own = {"OTEL_EXPORTER_OTLP_ENDPOINT": web.url}
    with lambdatrace.testing.recording(own) as recorded:
        web.statuses = [200, 200, 200]
        handle(lambda: by_requests(f"{web.url}/v1/traces"))
        handle(lambda: by_requests(f"{web.url}/v1/logs"))
        assert [span for span in recorded.spans if span.kind == CLIENT] == []
        handle(lambda: by_requests(f"{web.url}/200"))
        assert recorded.span("GET").kind == CLIENT
        recorded.telemetry.function.runtime_api = web.url.removeprefix("http://")
        handle(lambda: by_requests(f"{web.url}/200"))
        assert recorded.span("GET").kind == CLIENT, "and there is no other"


def test_nothing_is_recorded_where_opentelemetry_says_so(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    from opentelemetry.instrumentation.utils import (
        suppress_http_instrumentation,
        suppress_instrumentation,
    )

    def call() -> None:
        with suppress_http_instrumentation():
            by_requests(f"{web.url}/200")
        with suppress_instrumentation():
            by_urllib(f"{web.url}/200")

    handle(call)
    assert [span for span in recorded.spans if span.kind == CLIENT] == []
    assert all("traceparent" not in head for head in web.heads)


def test_a_connection_that_writes_its_own_heads_has_the_context_among_the_headers(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    class Connection(urllib3.connection.HTTPConnection):
        def endheaders(self, *arguments: Any, **keywords: Any) -> None:
            super().endheaders(*arguments, **keywords)

    headers = {"Accept": "text/plain"}
    with urllib3.HTTPConnectionPool("127.0.0.1", web.server_port, headers=headers) as pool:
        pool.ConnectionCls = Connection
        handle(lambda: pool.request("GET", "/200"))
    (head,) = web.heads
    assert head["traceparent"].split("-")[2] == recorded.span("GET").span_id
    assert headers == {"Accept": "text/plain"}


def test_what_may_not_stand_in_a_head_is_left_out_of_it(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    def call() -> None:
        span = recorded.telemetry.tracer.current_span()
        assert span is not None
        span.context.trace_state = "a=1\r\nX-Own: 1"
        by_requests(f"{web.url}/200")

    handle(call)
    (head,) = web.heads
    assert "tracestate" not in head
    assert "x-own" not in head
    assert head["traceparent"].split("-")[2] == recorded.span("GET").span_id


def test_calls_of_several_traces_have_headers_of_their_own(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    def call() -> None:
        by_urllib3(f"{web.url}/200")
        by_http_client(f"{web.url}/201")

    handle(call)
    handle(call)
    spans = [span for span in recorded.spans if span.name == "GET"]
    assert len({span.trace_id for span in spans}) == 2
    assert [head["traceparent"] for head in web.heads] == [
        f"00-{span.trace_id}-{span.span_id}-01" for span in spans
    ]


def test_where_urllib3_is_left_http_client_below_it_is_seen(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    leave("urllib3")
    leave("requests")
    try:
        assert handle(lambda: by_requests(f"{web.url}/200")) == 200
    finally:
        take_back("urllib3")
        take_back("requests")
    assert recorded.span("GET").scope.name == "lambdatrace.patches.http.client"
    assert len(web.heads) == 1


def test_a_request_in_steps_is_one_span(recorded: Recorded, handle: Handle, web: WebServer) -> None:
    def call() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", web.server_port, timeout=5)
        connection.putrequest("POST", "/201", True, skip_accept_encoding=True)
        connection.putheader("Host", "any")
        connection.putheader("Content-Length", "2")
        connection.endheaders()
        connection.send(b"{}")
        body = connection.getresponse().read()
        connection.close()
        return body

    assert json.loads(handle(call)) == {}
    assert recorded.span("POST").attributes["http.response.status_code"] == 201


def test_a_call_below_urllib3s_own_with_its_headers_by_position_works_as_before(
    recorded: Recorded, handle: Handle, web: WebServer
) -> None:
    def call() -> int:
        with urllib3.HTTPConnectionPool("127.0.0.1", web.server_port) as pool:
            connection = pool._get_conn()
            answer = pool._make_request(connection, "GET", "/200", None, {"X-Own": "1"})
            pool._put_conn(connection)
            return answer.status

    assert handle(call) == 200
    (head,) = web.heads
    assert head["x-own"] == "1"
    assert head["traceparent"].split("-")[2] == recorded.span("GET").span_id


def test_what_http_client_refuses_is_left_for_it_to_refuse(
    recorded: Recorded, handle: Handle
) -> None:
    with pytest.raises(http.client.CannotSendHeader):
        handle(http.client.HTTPConnection("127.0.0.1", 9).endheaders)
    assert [span for span in recorded.spans if span.kind == CLIENT] == []


class OwnAdapter(requests.adapters.BaseAdapter):
    """Keeps what it is given, and answers 200."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, dict[str, str]]] = []

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        self.seen.append((request, dict(request.headers)))
        response = requests.Response()
        response.status_code = 200
        response.request = request
        response._content = b""
        return response

    def close(self) -> None:
        pass


def test_an_adapter_of_the_users_gets_the_request_itself(
    recorded: Recorded, handle: Handle
) -> None:
    class Signed(requests.PreparedRequest):
        key = "k"

    request = Signed()
    request.prepare("GET", "http://example.com/", headers={"Accept": "text/plain"})
    before = dict(request.headers)
    adapter = OwnAdapter()
    with requests.Session() as session:
        session.mount("http://", adapter)
        response = handle(lambda: session.send(request))
    assert response.request is request
    ((seen, headers),) = adapter.seen
    assert seen is request
    assert headers["traceparent"].split("-")[2] == recorded.span("GET").span_id
    assert request.headers == before, "as the caller left them"


def test_an_adapter_of_a_session_made_before_the_patch_is_seen(
    recorded: Recorded, handle: Handle
) -> None:
    class EarlyAdapter(OwnAdapter):
        def send(self, request: Any, *arguments: Any, **keywords: Any) -> requests.Response:
            return super().send(request, *arguments, **keywords)

    with requests.Session() as session:
        session.adapters["http://"] = EarlyAdapter()  # past `mount`
        requests_patch.attach(requests.sessions)
        handle(lambda: session.get("http://example.com/"))
    (span,) = [span for span in recorded.spans if span.kind == CLIENT]
    assert span.scope.name == "lambdatrace.patches.requests"


def test_requests_are_seen_by_requests_where_urllib3s_are_not(
    handle: Handle, web: WebServer
) -> None:
    with lambdatrace.testing.recording({"LAMBDATRACE_PATCHES": "requests"}) as recorded:
        assert handle(lambda: by_requests(f"{web.url}/200")) == 200
        span = recorded.span("GET")
        assert span.scope.name == "lambdatrace.patches.requests"
        assert web.heads[0]["traceparent"].split("-")[2] == span.span_id
    with lambdatrace.testing.recording() as recorded:
        assert handle(lambda: by_requests(f"{web.url}/200")) == 200
        assert recorded.span("GET").scope.name == "lambdatrace.patches.urllib3"


def test_a_session_chooses_its_adapter_once_and_refuses_in_its_own_words(
    recorded: Recorded, handle: Handle
) -> None:
    chosen = []

    class Choosing(requests.Session):
        def get_adapter(self, url: Any) -> requests.adapters.BaseAdapter:
            chosen.append(url)
            return super().get_adapter(url)

    adapter = OwnAdapter()
    with Choosing() as session:
        session.mount("http://", adapter)
        handle(lambda: session.get("http://example.com/"))
        assert chosen == ["http://example.com/"]
    assert recorded.span("GET").scope.name == "lambdatrace.patches.requests"
    with requests.Session() as plain:
        plain.adapters.clear()
        with pytest.raises(requests.exceptions.InvalidSchema):
            handle(lambda: plain.get("http://example.com/"))
