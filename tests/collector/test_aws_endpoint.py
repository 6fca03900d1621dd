from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import EventStreamError

from lambdatrace_collector.aws.call import Call, FromBody
from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.exchange import Request, Response, read_body, request_head, send_response
from lambdatrace_collector.ingest.admission import Admission
from lambdatrace_collector.streaming import Streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from lambdatrace_collector.aws.call import Operation

SERVICES = load_services()
PUT = {
    "x-amz-target": "GraniteServiceVersion20100801.PutMetricData",
    "authorization": (
        "AWS4-HMAC-SHA256 Credential=key/20260131/eu-west-3/monitoring/aws4_request,"
        " SignedHeaders=host, Signature=0"
    ),
}


def answer(operation: Operation | FromBody, body: bytes) -> Response:
    """What PutMetricData answers when it is `operation`."""
    endpoint = AwsEndpoint(SERVICES, {("cloudwatch", "PutMetricData"): operation})
    found = asyncio.run(endpoint.handle(Request("POST", "/", {}, PUT, body)))
    assert isinstance(found, Response)
    return found


def test_an_operation_from_the_body_has_its_parameters_decoded_only_when_it_reads_them() -> None:
    calls: list[Call] = []

    async def whole(call: Call) -> Mapping[str, Any]:
        calls.append(call)
        return {}

    async def looks(call: Call) -> Mapping[str, Any]:
        assert call.parameters["Namespace"] == "n"
        return {}

    malformed, unknown = b'{"Namespace": 1}', b"{}"
    assert answer(FromBody(whole), malformed).status == 200
    assert (calls[0].body, calls[0].body_type, calls[0].region) == (
        malformed,
        "application/json",
        "eu-west-3",
    )
    assert answer(FromBody(looks), b'{"Namespace": "n"}').status == 200
    for body, code in ((malformed, "SerializationException"), (unknown, "ValidationException")):
        found = answer(FromBody(looks), body)
        assert (found.status, json.loads(found.body)["__type"].partition("#")[2]) == (400, code)
        assert answer(whole, body).body == found.body
    assert len(calls) == 1


@contextmanager
def serving(endpoint: AwsEndpoint, streams: Streams) -> Iterator[str]:
    """The URL of a server that answers with `endpoint` alone, as the collector does."""

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        head = request_head(scope)
        with Admission().lease() as lease:
            body = await read_body(head.headers, receive, lease)
        found = streams.admitted(
            await endpoint.handle(Request(head.method, head.path, {}, head.headers, body))
        )
        if isinstance(found, Response):
            await send_response(send, found)
        else:
            await streams.send(found, receive, send)

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        streams.end()
        server.should_exit = True
        thread.join(20)
        listener.close()


def live_tail(url: str) -> Any:
    client = boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
    )
    return client.start_live_tail(logGroupIdentifiers=["arn:aws:logs:eu-west-1:1:log-group:g"])[
        "responseStream"
    ]


def test_boto3_reads_a_live_tail_until_it_fails_or_leaves() -> None:
    closed = threading.Event()

    async def start_live_tail(call: Call) -> Mapping[str, Any]:
        async def events() -> AsyncGenerator[Mapping[str, Any], None]:
            yield {"sessionStart": {"logGroupIdentifiers": call.parameters["logGroupIdentifiers"]}}
            try:
                for place in range(1000):
                    yield {"sessionUpdate": {"sessionResults": [{"message": f"m{place}"}]}}
                    await asyncio.sleep(0.001)
            finally:
                closed.set()
            raise AwsError("SessionTimeoutException", "three hours")

        return {"responseStream": events()}

    endpoint = AwsEndpoint(SERVICES, {("logs", "StartLiveTail"): start_live_tail})
    with serving(endpoint, Streams()) as url:
        seen: list[Any] = []
        with (
            closing(live_tail(url)) as stream,
            pytest.raises(EventStreamError, match="three hours") as raised,
        ):
            seen.extend(stream)
        assert raised.value.response["Error"]["Code"] == "SessionTimeoutException"

        closed.clear()
        stream = live_tail(url)
        first = [event for event, _ in zip(stream, range(3), strict=False)]
        stream.close()
        assert closed.wait(10)
    assert first == [
        {"sessionStart": {"logGroupIdentifiers": ["arn:aws:logs:eu-west-1:1:log-group:g"]}},
        {"sessionUpdate": {"sessionResults": [{"message": "m0"}]}},
        {"sessionUpdate": {"sessionResults": [{"message": "m1"}]}},
    ]


def test_an_error_before_the_stream_is_a_response_of_its_own() -> None:
    async def start_live_tail(_call: Call) -> Mapping[str, Any]:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")

    endpoint = AwsEndpoint(SERVICES, {("logs", "StartLiveTail"): start_live_tail})
    with serving(endpoint, Streams()) as url, pytest.raises(Exception, match="does not exist"):
        live_tail(url)
