from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from lambdatrace.errors import SendError, SettingError
from lambdatrace.exporter_settings import ExporterSettings
from lambdatrace.http1 import Address, Connection, post_head
from lambdatrace.invocation import Function
from lambdatrace.proxy import is_bypassed, proxy_for
from lambdatrace.records import Span, SpanContext
from lambdatrace.sinks.otlp_endpoint import otlp_sink
from lambdatrace.tls import Tls
from lambdatrace.wire.otlp_protobuf import span_encoder
from tests.sdk.certificates import write_certificate
from tests.sdk.test_tls import peer, server_context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HTTPS = Address("https://otlp.example.com:4318/v1/traces")
HTTP = Address("http://otlp.example.com/v1/traces")


def fail(place: str, error: object) -> None:
    raise AssertionError(place, error)


@pytest.mark.parametrize(
    ("address", "environ", "authority"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": "http://proxy:3128"}, "proxy:3128"),
        (HTTPS, {"https_proxy": "proxy:3128", "HTTPS_PROXY": "http://other:1"}, "proxy:3128"),
        (HTTPS, {"HTTP_PROXY": "http://proxy:3128"}, None),
        (HTTP, {"HTTP_PROXY": "http://proxy"}, "proxy"),
        (HTTP, {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": ".example.com"}, None),
        (Address("http://localhost:4318"), {"HTTP_PROXY": "http://proxy:3128"}, None),
        (Address("http://127.0.0.1:4318"), {"HTTP_PROXY": "http://proxy:3128"}, None),
    ],
)
def test_the_variables_tell_the_proxy(
    address: Address, environ: dict[str, str], authority: str | None
) -> None:
    found = proxy_for(address, environ)
    assert (found.address.authority if found else None) == authority


@pytest.mark.parametrize(
    ("bypass", "is_straight"),
    [
        ("*", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("otlp.example.com:4318", True),
        ("otlp.example.com:80", False),
        ("other.com, OTLP.example.com", True),
        ("ample.com", False),
        ("", False),
    ],
)
def test_no_proxy_names_hosts_and_domains(bypass: str, is_straight: bool) -> None:
    assert is_bypassed(HTTPS, bypass) is is_straight


@pytest.mark.parametrize(
    ("url", "bypass", "is_straight"),
    [
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://11.1.2.3", "10.0.0.0/8", False),
        ("http://[fd00::1]", "fd00::/8", True),
        ("http://[fd00::1]:8080", "fd00::1", True),
        ("http://[fd00::1]:8080", "[fd00::1]:8080", True),
        ("http://[fd00::1]:8080", "[fd00::1]:80", False),
        ("http://a.example", "10.0.0.0/8", False),
        ("http://10.1.2.3", "10.0.0.0/99", False),
    ],
)
def test_no_proxy_names_addresses_and_networks(url: str, bypass: str, is_straight: bool) -> None:
    assert is_bypassed(Address(url), bypass) is is_straight


@pytest.mark.parametrize("url", ["https://user:secret@proxy:1", "http://user:secret@proxy:x"])
def test_a_proxy_nobody_can_use_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingError) as raised:
        proxy_for(HTTPS, {"HTTPS_PROXY": url})
    assert str(raised.value) == (
        "HTTPS_PROXY is '…': expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"
    )


@contextmanager
def proxy(answer: bytes, onwards_port: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """A proxy for one connection: takes a request, gives `answer`, then passes bytes on."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    requests: list[bytes] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # either side may be gone first
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.settimeout(5)
            requests.append(client.recv(65536))
            client.sendall(answer)
            if onwards_port:
                with socket.create_connection(("127.0.0.1", onwards_port), 5) as onwards:
                    back = threading.Thread(target=pump, args=(onwards, client))
                    back.start()
                    pump(client, onwards)
                    back.join(5)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], requests
    finally:
        thread.join(10)
        listener.close()


def test_https_goes_through_a_tunnel_which_the_proxy_cannot_read(tmp_path: Path) -> None:
    server = write_certificate(tmp_path, "server")
    with (
        peer(server_context(server), ["drop"]) as (port, received),
        proxy(b"HTTP/1.1 200 Connection established\r\n\r\n", port) as (proxy_port, requests),
    ):
        address = Address(f"https://localhost:{port}/v1/traces")
        found = proxy_for(
            Address("https://elsewhere"),
            {"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{proxy_port}"},
        )
        connection = Connection(address, Tls(str(server), proxy=found).dial)
        response = connection.post(post_head(address, "/v1/traces", {}), b"secret", 5)
        connection.close()
    assert response.status == 200
    host = f"localhost:{port}".encode()
    assert requests == [
        b"CONNECT " + host + b" HTTP/1.1\r\nHost: " + host + b"\r\n"
        b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n"
    ]
    assert received[0].startswith(b"POST /v1/traces HTTP/1.1\r\n")
    assert b"Proxy-Authorization" not in received[0]


def sent_to(url: str, proxy_url: str, timeout_s: float = 5) -> str:
    """What is said of a span that goes to `url` by way of `proxy_url`."""
    variable = "HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, variable: proxy_url}
    sink = otlp_sink(
        "traces",
        ExporterSettings(environ).of("traces"),
        span_encoder({}, fail),
        Function({}),
        environ,
        sigv4="auto",
        on_error=fail,
    )
    try:
        span = Span("a", SpanContext("1" * 32, "2" * 16), None, 1)
        return sink.send([span], timeout_s, lambda: None).message
    except SendError as error:
        return str(error)
    finally:
        sink.close()


REMEDY = "check that variable and NO_PROXY"


@pytest.mark.parametrize("url", ["http://otlp.example.com:4318", "https://otlp.example.com"])
def test_a_proxy_that_cannot_be_reached_is_named_with_its_variable(url: str) -> None:
    variable = "HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert sent_to(url, f"http://me:5ecret@127.0.0.1:{port}") == (
        f"{url}/v1/traces: the proxy 127.0.0.1:{port} ({variable}) is not there: nothing listens; "
        f"{REMEDY}"
    )
    assert sent_to(url, "http://proxy.invalid:1") == (
        f"{url}/v1/traces: the proxy proxy.invalid:1 ({variable}) has a name that cannot be "
        f"resolved; {REMEDY}"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", " answered HTTP 407"),
        (b"HTTP/1.1 200", " broke off its answer"),
        (b"SSH-2.0\r\n\r\n", ": not an HTTP/1.1 answer: b'SSH-2.0'"),
    ],
)
def test_a_proxy_that_opens_no_way_is_named_with_its_variable(answer: bytes, said: str) -> None:
    with proxy(answer) as (port, _):
        assert sent_to("https://otlp.example.com", f"http://127.0.0.1:{port}") == (
            f"https://otlp.example.com/v1/traces: the proxy 127.0.0.1:{port} (HTTPS_PROXY){said}; "
            f"{REMEDY}"
        )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://otlp.example.com", "did not open a way to it in time"),
        ("http://otlp.example.com", "did not answer within 1 s"),
    ],
)
def test_a_proxy_that_says_nothing_is_named_with_its_variable(url: str, said: str) -> None:
    variable = "HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert sent_to(url, f"http://127.0.0.1:{port}", 1) == (
            f"{url}/v1/traces: the proxy 127.0.0.1:{port} ({variable}) {said}; {REMEDY}"
        )


def test_an_answer_by_way_of_a_proxy_may_be_the_proxys() -> None:
    answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    with proxy(answer) as (port, _):
        assert sent_to("http://otlp.example.com", f"http://127.0.0.1:{port}") == (
            f"http://otlp.example.com/v1/traces, asked through the proxy 127.0.0.1:{port} "
            "(HTTP_PROXY): HTTP 403; check the credentials in OTEL_EXPORTER_OTLP_HEADERS"
        )


def test_a_peer_behind_a_proxy_that_breaks_the_handshake_is_not_the_proxys_fault() -> None:
    with proxy(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
        said = sent_to("https://otlp.example.com", f"http://127.0.0.1:{port}")
    assert said.startswith("https://otlp.example.com/v1/traces: ")
    assert "proxy" not in said


def test_plain_http_asks_the_proxy_for_the_whole_url() -> None:
    with proxy(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (port, requests):
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otlp.example.com:4318",
            "HTTP_PROXY": f"http://me:pass@127.0.0.1:{port}",
        }
        sink = otlp_sink(
            "traces",
            ExporterSettings(environ).of("traces"),
            span_encoder({}, fail),
            Function({}),
            environ,
            sigv4="auto",
            on_error=fail,
        )
        span = Span("a", SpanContext("1" * 32, "2" * 16), None, 1)
        assert sink.send([span], 5, lambda: None).is_accepted
        sink.close()
    (request,) = requests
    assert request.startswith(b"POST http://otlp.example.com:4318/v1/traces HTTP/1.1\r\n")
    assert b"\r\nHost: otlp.example.com:4318\r\n" in request
    assert b"\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n" in request
