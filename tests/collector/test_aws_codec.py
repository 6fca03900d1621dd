"""Whatever botocore's models allow: botocore's serializers and parsers are the other side."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lambdatrace_collector.aws.cbor_protocol import CborProtocol
from lambdatrace_collector.aws.endpoint import AwsEndpoint
from lambdatrace_collector.aws.error_answer import error_answer
from lambdatrace_collector.aws.json_protocol import JsonProtocol, RestJsonProtocol
from lambdatrace_collector.aws.query_protocol import QueryProtocol
from lambdatrace_collector.aws.services import load_services
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.exchange import Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.aws.protocol import WireProtocol

SERVICES = {service.name: service for service in load_services()}
PROTOCOLS: dict[str, WireProtocol] = {
    "logs json": JsonProtocol(SERVICES["logs"], ()),
    "cloudwatch json": JsonProtocol(SERVICES["cloudwatch"], ()),
    "cloudwatch smithy-rpc-v2-cbor": CborProtocol(SERVICES["cloudwatch"]),
    "cloudwatch query": QueryProtocol(SERVICES["cloudwatch"]),
    "xray rest-json": RestJsonProtocol(SERVICES["xray"]),
}
DEPTH_MAX = 4
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))
UTC = timezone.utc
TIMES = st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, tz=UTC))

thorough = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def values(shape: Any, depth: int = DEPTH_MAX) -> st.SearchStrategy[Any]:
    """Values of a shape, as boto3 takes them; none is empty: the query protocol cannot say that."""
    kind = shape.type_name
    if kind == "structure":
        return structures(shape, depth)
    if kind == "list":
        return st.lists(values(shape.member, depth - 1), min_size=1, max_size=3)
    if kind == "map":
        keys = values(shape.key, depth - 1)
        return st.dictionaries(keys, values(shape.value, depth - 1), min_size=1, max_size=3)
    if kind == "string" and shape.metadata.get("enum"):
        return st.sampled_from(shape.metadata["enum"])
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": TEXT,
        "integer": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32),
        "double": st.floats(),
        "boolean": st.booleans(),
        "blob": st.binary(max_size=20),
        "timestamp": TIMES,
    }
    return scalars[kind]


def structures(shape: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    members = {
        name: values(member, depth - 1)
        for name, member in shape.members.items()
        if depth > 0 or member.type_name not in ("structure", "list", "map")
    }
    if not members:
        return st.just({})
    if shape.is_tagged_union:
        return st.one_of([st.fixed_dictionaries({name: item}) for name, item in members.items()])
    return st.fixed_dictionaries({}, optional=members).filter(bool)


def plain(value: Any) -> Any:
    """What a value is once it has been sent: times are seconds, and what is not a number is one."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.timestamp()
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def without_empty(value: Any) -> Any:
    """`value` without the members that are empty, nor those that have no others."""
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    members = {key: without_empty(item) for key, item in value.items()}
    return {key: item for key, item in members.items() if item != {}}


def sent(protocol: str, operation: Any, parameters: Mapping[str, Any]) -> Request:
    """What botocore sends."""
    wire = create_serializer(protocol, include_validation=False)
    request = wire.serialize_to_request(parameters, operation)
    prepare_request_dict(request, "http://127.0.0.1", {})
    body = request["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    content = body.encode() if isinstance(body, str) else body
    headers = {name.lower(): str(value) for name, value in request["headers"].items()}
    return Request(request["method"], request["url_path"], {}, headers, content)


def with_input(name: str) -> list[Any]:
    model = SERVICES[name].model
    operations = [model.operation_model(name) for name in model.operation_names]
    return [operation for operation in operations if operation.input_shape is not None]


def with_output(name: str) -> list[Any]:
    model = SERVICES[name].model
    operations = [model.operation_model(name) for name in model.operation_names]
    return [
        operation
        for operation in operations
        if operation.output_shape is not None and not operation.has_event_stream_output
    ]


@pytest.mark.parametrize("key", PROTOCOLS)
@thorough
@given(data=st.data())
def test_what_botocore_sends_is_read_as_what_it_was_given(key: str, data: st.DataObject) -> None:
    service, protocol = key.split()
    operation = data.draw(st.sampled_from(with_input(service)))
    parameters = data.draw(values(operation.input_shape))
    request = sent(protocol, operation, parameters)
    name, source = PROTOCOLS[key].read_operation(request)
    assert name == operation.name
    found = PROTOCOLS[key].read_parameters(source, operation.input_shape)
    if protocol == "query":  # which cannot say that a structure has no members
        assert without_empty(plain(found)) == without_empty(plain(parameters))
    else:
        assert plain(found) == plain(parameters)


@pytest.mark.parametrize("key", PROTOCOLS)
@thorough
@given(data=st.data())
def test_what_is_answered_is_what_botocore_reads(key: str, data: st.DataObject) -> None:
    service, protocol = key.split()
    operation = data.draw(st.sampled_from(with_output(service)))
    result = data.draw(values(operation.output_shape))
    if (
        "json" in protocol
    ):  # Smithy has names for what JSON cannot write, botocore does not read them
        assume(is_finite(result))
    response = PROTOCOLS[key].write_result(operation, seconds(result), "request")
    parsed = create_parser(protocol).parse(
        {"status_code": 200, "headers": lower(response), "body": response.body},
        operation.output_shape,
    )
    del parsed["ResponseMetadata"]
    assert plain(parsed) == plain(result)


def is_finite(value: Any) -> bool:
    """Whether JSON has digits for every number in a value."""
    if isinstance(value, dict):
        return all(is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def seconds(value: Any) -> Any:
    """A result as operations give it: times are seconds."""
    if isinstance(value, dict):
        return {key: seconds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [seconds(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


def lower(response: Response) -> dict[str, str]:
    return {
        "content-type": response.content_type,
        **{name.lower(): value for name, value in response.headers.items()},
    }


@pytest.mark.parametrize("key", PROTOCOLS)
def test_every_error_of_a_service_is_read_by_botocore_with_its_code_and_status(key: str) -> None:
    service, protocol = key.split()
    request = Request("POST", "/", {}, {"x-amzn-query-mode": "true"}, b"")
    for shape in SERVICES[service].model.error_shapes:
        answer = error_answer(SERVICES[service], AwsError(shape.name, "why <&> \u00e9"))
        response = PROTOCOLS[key].write_error(request, answer, "request")
        parsed = create_parser(protocol).parse(
            {"status_code": response.status, "headers": lower(response), "body": response.body},
            None,
        )
        error = shape.metadata.get("error", {})
        code = error.get("code", shape.name) if service == "cloudwatch" else shape.name
        assert (parsed["Error"]["Code"], parsed["Error"]["Message"], response.status) == (
            code,
            "why <&> \u00e9",
            error.get("httpStatusCode", 400),
        )


@pytest.mark.parametrize("key", ["logs json", "cloudwatch smithy-rpc-v2-cbor"])
def test_an_error_carries_its_own_members(key: str) -> None:
    service, protocol = key.split()
    error = (
        AwsError(
            "MalformedQueryException",
            "at 3",
            members={
                "queryCompileError": {
                    "location": {"startCharOffset": 3, "endCharOffset": 4},
                    "message": "unexpected |",
                }
            },
        )
        if service == "logs"
        else AwsError(
            "DashboardInvalidInputError",
            "bad",
            members={"dashboardValidationMessages": [{"DataPath": "/", "Message": "empty"}]},
        )
    )
    answer = error_answer(SERVICES[service], error)
    response = PROTOCOLS[key].write_error(Request("POST", "/", {}, {}, b""), answer, "request")
    parsed = create_parser(protocol).parse(
        {"status_code": response.status, "headers": lower(response), "body": response.body},
        SERVICES[service].error_shape(error.code),
    )
    assert {name: parsed[name] for name in error.members} == error.members


@pytest.mark.parametrize("key", PROTOCOLS)
def test_the_shape_of_a_request_says_its_protocol(key: str) -> None:
    service, protocol = key.split()
    called: list[Call] = []

    async def operation(call: Call) -> Mapping[str, Any]:
        called.append(call)
        return {}

    names = {"logs": "DescribeLogGroups", "cloudwatch": "ListMetrics", "xray": "GetGroups"}
    endpoint = AwsEndpoint(tuple(SERVICES.values()), {(service, names[service]): operation})
    model = SERVICES[service].operation(names[service])
    response = asyncio.run(endpoint.handle(sent(protocol, model, {})))
    assert isinstance(response, Response)
    assert (response.status, called[0].service, called[0].operation) == (
        200,
        service,
        names[service],
    )
    assert "x-amzn-RequestId" in response.headers
