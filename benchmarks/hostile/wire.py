"""Targets of the wire: bodies, AWS's protocols with every operation of the models, page tokens."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import cbor2
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from benchmarks.hostile.mutation import mutated_body
from benchmarks.hostile.targets import Target, register
from lambdatrace_collector.aws.call import region_of
from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.aws.query_protocol import FORM
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import BadRequestError, RequestError, ServiceError
from lambdatrace_collector.exchange import Request, Response, read_body, request_head
from lambdatrace_collector.ingest.admission import Admission

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence

    from lambdatrace_collector.aws.call import Call

SERVICES = {service.name: service for service in load_services()}


async def _nothing(_call: Call) -> Mapping[str, Any]:
    """An operation that answers nothing: what is tried is what comes before it."""
    return {}


ENDPOINT = AwsEndpoint(
    tuple(SERVICES.values()),
    {
        (service.name, name): _nothing
        for service in SERVICES.values()
        for name in service.model.operation_names
    },
)


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def example(shape: Any, depth: int = 5) -> Any:
    """A value with every member of a shape, down to `depth`."""
    kind = shape.type_name
    if kind == "structure":
        members = shape.members.items() if depth else ()
        return {name: example(member, depth - 1) for name, member in members}
    if kind == "list":
        return [example(shape.member, depth - 1)]
    if kind == "map":
        return {"key": example(shape.value, depth - 1)}
    if kind == "string":
        return (shape.metadata.get("enum") or ["text"])[0]
    scalars = {"blob": b"blob", "boolean": True, "double": 1.5, "float": 1.5}
    return {**scalars, "timestamp": 1_790_000_000}.get(kind, 1)


def variants(shape: Any) -> list[dict[str, Any]]:
    """An operation's parameters: all, those that are required, and these with one other each."""
    if shape is None:
        return [{}]
    whole = example(shape)
    needed = {name: whole[name] for name in shape.required_members}
    others = [{**needed, name: value} for name, value in whole.items() if name not in needed]
    return [whole, needed, *others]


def requests(service: str, protocol: str) -> list[bytes]:
    """Valid requests for each operation: a line with method, path and headers, then its body."""
    serializer = create_serializer(protocol, include_validation=False)
    model = SERVICES[service].model
    found = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        found += [
            _written(serializer.serialize_to_request(parameters, operation), protocol)
            for parameters in variants(operation.input_shape)
        ]
    return found


def _written(sent: Mapping[str, Any], protocol: str) -> bytes:
    body = sent["body"]
    body = urlencode(body) if isinstance(body, dict) else body
    headers = {
        **{key.lower(): str(value) for key, value in sent["headers"].items()},
        "authorization": "AWS4-HMAC-SHA256 Credential=k/20260131/eu-west-1/logs/aws4_request",
    }
    if protocol == "query":
        headers["content-type"] = FORM
    head = [sent["method"], sent["url_path"], headers]
    content: bytes = body.encode() if isinstance(body, str) else body
    return json.dumps(head).encode() + b"\n" + content


def read_request(protocol: str) -> Callable[[bytes], object]:
    """Answers a request of `requests`; what is answered must be readable in some protocol of ours.

    Where the line of the head is broken too, what is left of it goes into each header.
    """
    parser = create_parser(protocol)

    def read(content: bytes) -> object:
        line, _, body = content.partition(b"\n")
        request = _request(line, body)
        try:
            answer = finished(ENDPOINT.handle(request))
        except (RequestError, ServiceError) as error:
            answer = ENDPOINT.error_response(request, error)
        if not isinstance(answer, Response):
            return finished(answer.chunks.__anext__())
        assert answer.status < 500, (answer.status, answer.body)
        assert "x-amzn-RequestId" in answer.headers
        _check(answer, parser)
        return answer

    return read


def _request(line: bytes, body: bytes) -> Request:
    try:
        method, path, headers = json.loads(line)
        pairs = [(str(name).lower(), str(value)) for name, value in headers.items()]
    except (ValueError, TypeError, AttributeError, RecursionError):
        text = line.decode("latin-1")
        names = ("x-amz-target", "content-type", "authorization", "smithy-protocol")
        method, path, pairs = "POST", "/", [(name, text) for name in names]
    scope = {
        "method": str(method),
        "path": str(path).encode("utf-8", "replace").decode(),  # as a URL's path is read
        "query_string": line[-100:],
        "headers": [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in pairs
        ],
    }
    head = request_head(scope)
    region_of(head)
    return Request(head.method, head.path, head.query, head.headers, body)


def _check(answer: Response, parser: Any) -> None:
    kind = answer.content_type
    if kind == "application/cbor":
        cbor2.loads(answer.body)
    elif "json" in kind:
        json.loads(answer.body)
    else:
        assert kind in ("text/xml", "") or kind.endswith("eventstream"), kind
    if kind == "text/xml":
        parser = create_parser("query")
        parser.parse({"status_code": 400, "headers": {}, "body": answer.body}, None)


def read_gzip(content: bytes) -> object:
    """Takes a body in as one that is gzip, in two pieces."""
    half = len(content) // 2
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": content[:half], "more_body": True},
        {"type": "http.request", "body": content[half:], "more_body": False},
    ]
    return _body({"content-encoding": "gzip", "content-length": str(len(content))}, messages)


def read_headers(content: bytes) -> object:
    """Takes a body in whose headers are broken."""
    encoding, _, length = content.partition(b"\n")
    headers = {
        "content-encoding": encoding.decode("latin-1"),
        "content-length": length.decode("latin-1"),
    }
    return _body(headers, [{"type": "http.request", "body": content, "more_body": False}])


def _body(headers: Mapping[str, str], messages: Sequence[MutableMapping[str, Any]]) -> object:
    import asyncio

    queue = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return queue.pop(0)

    async def read() -> bytes:
        with Admission().lease() as lease:
            return await read_body(headers, receive, lease)

    return asyncio.run(read())


def read_token(content: bytes) -> object:
    """Reads a page token of a name and a number."""
    return decode_token(
        content.decode("utf-8", "replace"), str, int, invalid=lambda: BadRequestError("invalid")
    )


SPOKEN = {
    f"{service} over {protocol}": (service, protocol)
    for service, protocol in (
        ("logs", "json"),
        ("cloudwatch", "json"),
        ("cloudwatch", "query"),
        ("cloudwatch", "smithy-rpc-v2-cbor"),
        ("xray", "rest-json"),
    )
}
for _name, (_service, _protocol) in SPOKEN.items():
    register(
        Target(
            _name,
            read_request(_protocol),
            requests(_service, _protocol),
            mutate=mutated_body,
        )
    )
_JSON = b'{"logEvents":[{"timestamp":1,"message":"m"}]}' * 50
register(
    Target(
        "gzip bodies",
        read_gzip,
        [gzip.compress(_JSON), gzip.compress(b"a") + gzip.compress(bytes(1_000_000))],
        (RequestError, ServiceError),
    )
)
register(Target("headers of bodies", read_headers, [b"identity\n10", b"\n5"], (RequestError,)))
register(Target("page tokens", read_token, [encode_token("name", 5).encode()]))
