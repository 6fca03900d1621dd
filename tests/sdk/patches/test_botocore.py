from __future__ import annotations

import base64
import copy
import inspect
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import botocore.client
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.serialize import create_serializer
from botocore.stub import Stubber

import lambdatrace
import lambdatrace.testing
from lambdatrace.patches import leave, take_back
from lambdatrace.post_import import arm_doors
from lambdatrace.records import CLIENT, ERROR, PRODUCER

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.testing import Recorded

    Handle = Callable[[Callable[[], Any]], Any]

TRACE = f"{1:032x}"
ANSWERS = {  # with what the services' models require of them
    "send_message_batch": {"Successful": [], "Failed": []},
    "put_record": {"ShardId": "a", "SequenceNumber": "1"},
}
ENTRY = {"Id": "1", "MessageBody": "1"}
SQS_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"


def client(service: str, url: str | None = None, **config: Any) -> Any:
    return botocore.session.get_session().create_client(
        service,
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 2, "mode": "standard"}, **config),
    )


class Answer:
    """Stands for the network below botocore: keeps each request, answers each alike."""

    def __init__(
        self, status: int = 200, body: bytes = b"{}", headers: dict[str, str] | None = None
    ) -> None:
        self.requests: list[Any] = []
        self.statuses = [status]
        self.body = body
        self.headers = {"x-amzn-RequestId": "request-1", **(headers or {})}

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        raw = io.BytesIO(self.body)
        raw.stream = lambda *_, **__: iter([self.body])  # type: ignore[attr-defined]
        return AWSResponse(request.url, status, self.headers, raw)

    def to(self, service: str, **config: Any) -> Any:
        stubbed = client(service, **config)
        stubbed.meta.events.register_first("before-send.*", self)
        return stubbed

    @property
    def trace_headers(self) -> list[str]:
        headers = self.requests[-1].headers.items()
        return [value.decode() for name, value in headers if name.lower() == "x-amzn-trace-id"]

    @property
    def body_sent(self) -> Any:
        return json.loads(self.requests[-1].body)


def test_a_call_of_a_trace_that_may_yet_be_sent_has_its_attributes(handle: Handle) -> None:
    environment = {"OTEL_TRACES_SAMPLER": "always_off", "LAMBDATRACE_KEEP_UNSAMPLED": "errors"}
    answer = Answer(body=b'{"Count": 2, "ScannedCount": 5, "Items": []}')

    def function() -> None:
        answer.to("dynamodb").query(TableName="orders", KeyConditionExpression="a = b")
        raise OSError("no")

    with lambdatrace.testing.recording(environment) as recorded:
        arm_doors(recorded.telemetry.guard)
        with pytest.raises(OSError, match="no"):
            handle(function)
    attributes = recorded.span("DynamoDB.Query").attributes
    assert attributes["rpc.method"] == "Query"
    assert attributes["db.collection.name"] == "orders"
    assert attributes["http.response.status_code"] == 200
    assert attributes["aws.dynamodb.count"] == 2


def test_a_call_is_a_client_span_with_the_conventions_attributes(
    recorded: Recorded, handle: Handle
) -> None:
    answer = Answer(body=b'{"Count": 2, "ScannedCount": 5, "Items": []}')
    handle(
        lambda: answer.to("dynamodb").query(
            TableName="orders", IndexName="by-day", Limit=5, KeyConditionExpression="a = b"
        )
    )
    span = recorded.span("DynamoDB.Query")
    assert span.kind == CLIENT
    assert span.scope.name == "lambdatrace.patches.botocore"
    assert span.parent is not None
    assert span.parent.span_id == recorded.span("orders").span_id
    assert span.attributes == {
        "rpc.system": "aws-api",
        "rpc.service": "DynamoDB",
        "rpc.method": "Query",
        "cloud.region": "eu-west-1",
        "server.address": "dynamodb.eu-west-1.amazonaws.com",
        "server.port": 443,
        "db.system.name": "aws.dynamodb",
        "db.namespace": "eu-west-1",
        "db.operation.name": "Query",
        "db.collection.name": "orders",
        "aws.dynamodb.table_names": ["orders"],
        "aws.dynamodb.index_name": "by-day",
        "aws.dynamodb.limit": 5,
        "aws.dynamodb.count": 2,
        "aws.dynamodb.scanned_count": 5,
        "aws.request_id": "request-1",
        "http.response.status_code": 200,
    }


def test_an_error_of_the_service_has_its_code_and_reaches_the_caller_unchanged(
    recorded: Recorded, handle: Handle
) -> None:
    body = b'{"__type": "com.amazonaws.dynamodb#ResourceNotFoundException", "message": "no"}'
    answer = Answer(400, body)

    def call() -> str:
        with pytest.raises(ClientError) as raised:
            answer.to("dynamodb").get_item(TableName="orders", Key={})
        return str(raised.value.response["Error"]["Code"])

    assert handle(call) == "ResourceNotFoundException"
    span = recorded.span("DynamoDB.GetItem")
    assert span.status_code == ERROR
    assert span.attributes["error.type"] == "ResourceNotFoundException"
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["aws.request_id"] == "request-1"
    assert [event.name for event in span.events] == ["exception"]


def test_a_request_that_botocore_refuses_is_an_error_of_that_name(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        with pytest.raises(ParamValidationError):
            Answer().to("sqs").send_message(QueueUrl=SQS_URL)

    handle(call)
    span = recorded.span("SQS.SendMessage")
    assert span.attributes["error.type"] == "botocore.exceptions.ParamValidationError"


def test_retries_are_counted_in_one_span(recorded: Recorded, handle: Handle) -> None:
    answer = Answer()
    answer.statuses = [500, 200]
    handle(lambda: answer.to("dynamodb").describe_table(TableName="orders"))
    span = recorded.span("DynamoDB.DescribeTable")
    assert span.attributes["http.request.resend_count"] == 1
    assert len(answer.requests) == 2
    assert len(recorded.spans) == 2 + 2, "the call, the invocation, and its init with the import"


def test_each_request_has_the_span_as_parent_in_its_trace_header(
    recorded: Recorded, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")  # so botocore adds Lambda's own
    monkeypatch.setenv(
        "_X_AMZN_TRACE_ID",
        "Root=1-65534b90-0123456789abcdef01234567;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1",
    )
    answer = Answer()
    handle(lambda: answer.to("dynamodb").list_tables())
    span = recorded.span("DynamoDB.ListTables")
    assert answer.trace_headers == [
        f"Root=1-65534b90-0123456789abcdef01234567;Parent={span.span_id};Sampled=1;Lineage=a:1"
    ]


def test_what_x_ray_does_not_sample_stays_so_for_the_services_called(
    recorded: Recorded, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = "1-65534b90-0123456789abcdef01234567"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent=53995c3f42cd8ad8;Sampled=0")
    answer = Answer()
    handle(lambda: answer.to("dynamodb").list_tables())
    span = recorded.span("DynamoDB.ListTables")
    assert answer.trace_headers == [f"Root={root};Parent={span.span_id};Sampled=0"]


def test_a_trace_that_is_not_sampled_leaves_lambdas_header_as_it_is(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    header = "Root=1-65534b90-0123456789abcdef01234567;Parent=53995c3f42cd8ad8;Sampled=1"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    answer = Answer()
    with lambdatrace.testing.recording({"OTEL_TRACES_SAMPLER": "always_off"}) as recorded:
        handle(lambda: answer.to("sqs").send_message(QueueUrl=SQS_URL, MessageBody="1"))
        assert recorded.spans == []
    assert answer.trace_headers == [header]
    sent = answer.body_sent["MessageAttributes"]["traceparent"]["StringValue"]
    assert sent.endswith("-00"), "and says so to the next"


def test_the_callers_own_parameters_are_not_changed(recorded: Recorded, handle: Handle) -> None:
    parameters = {
        "QueueUrl": SQS_URL,
        "Entries": [
            {"Id": "1", "MessageBody": "{}", "MessageAttributes": {}},
            {"Id": "2", "MessageBody": "{}"},
        ],
    }
    before = copy.deepcopy(parameters)
    answer = Answer(body=b'{"Failed": [{"Id": "2"}]}')
    handle(lambda: answer.to("sqs").send_message_batch(**parameters))
    assert parameters == before
    span = recorded.span("SQS.SendMessageBatch")
    assert span.kind == PRODUCER
    sent = {"DataType": "String", "StringValue": f"00-{TRACE}-{span.span_id}-01"}
    entries = answer.body_sent["Entries"]
    assert [entry["MessageAttributes"] for entry in entries] == [{"traceparent": sent}] * 2
    assert span.attributes["messaging.batch.message_count"] == 2
    assert span.attributes["aws.failed_entry_count"] == 1


def is_as_expected(service: str, operation: str, parameters: dict[str, Any]) -> bool:
    """Make a call with `parameters` of a Stubber that expects just these, or raises."""
    stubbed = client(service)
    with Stubber(stubbed) as stubber:
        answer = ANSWERS.get(operation, {})
        stubber.add_response(operation, answer, copy.deepcopy(parameters))
        getattr(stubbed, operation)(**parameters)
        stubber.assert_no_pending_responses()
    return True


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sqs", "send_message", {"QueueUrl": SQS_URL, "MessageBody": "1"}),
        ("sqs", "send_message_batch", {"QueueUrl": SQS_URL, "Entries": [ENTRY]}),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:a", "Message": "1"}),
        ("events", "put_events", {"Entries": [{"Source": "a", "Detail": "{}"}]}),
        ("lambda", "invoke", {"FunctionName": "charge"}),
        ("kinesis", "put_record", {"StreamName": "a", "Data": b"{}", "PartitionKey": "1"}),
    ],
)
def test_a_stubber_sees_the_parameters_that_the_caller_has_given(
    recorded: Recorded,
    handle: Handle,
    service: str,
    operation: str,
    parameters: dict[str, Any],
) -> None:
    assert handle(lambda: is_as_expected(service, operation, parameters))
    assert [span for span in recorded.spans if span.kind in (CLIENT, PRODUCER)]


def test_a_message_with_attributes_of_the_callers_keeps_them(
    recorded: Recorded, handle: Handle
) -> None:
    answer = Answer()
    own = {"kind": {"DataType": "String", "StringValue": "paid"}}
    parameters = {"QueueUrl": SQS_URL, "MessageBody": "é", "MessageAttributes": own}
    handle(lambda: answer.to("sqs").send_message(**parameters))
    span = recorded.span("SQS.SendMessage")
    sent = {"DataType": "String", "StringValue": f"00-{TRACE}-{span.span_id}-01"}
    assert answer.body_sent == {**parameters, "MessageAttributes": {**own, "traceparent": sent}}


def test_a_message_in_another_protocol_has_the_context_all_the_same(
    recorded: Recorded, handle: Handle
) -> None:
    answer = Answer(body=b"<a/>")
    queried = answer.to("sqs")
    queried._serializer = create_serializer("query")  # as botocore before 1.29.127 has it for SQS
    handle(lambda: queried.send_message(QueueUrl=SQS_URL, MessageBody="1"))
    span = recorded.span("SQS.SendMessage")
    assert f"00-{TRACE}-{span.span_id}-01" in unquote(answer.requests[-1].body)


def test_a_url_that_is_signed_within_a_call_is_none_of_its_requests(
    recorded: Recorded, handle: Handle
) -> None:
    answer = Answer()
    sqs = answer.to("sqs")
    urls = []

    def sign(**_: Any) -> None:
        urls.append(sqs.generate_presigned_url("list_queues"))

    sqs.meta.events.register("before-parameter-build.sqs.SendMessage", sign)
    handle(lambda: sqs.send_message(QueueUrl=SQS_URL, MessageBody="1"))
    assert "trace" not in urls[0].lower()
    assert "traceparent" in answer.body_sent["MessageAttributes"]
    assert recorded.span("SQS.SendMessage").span_id in answer.trace_headers[0]


def test_an_invoked_function_finds_the_context_where_the_runtime_looks(
    recorded: Recorded, handle: Handle
) -> None:
    from awslambdaric.lambda_context import LambdaContext

    answer = Answer(headers={"X-Amz-Function-Error": "Unhandled"})
    handle(
        lambda: answer.to("lambda").invoke(
            FunctionName="arn:aws:lambda:us-east-1:123456789012:function:charge:live"
        )
    )
    span = recorded.span("Lambda.Invoke")
    sent = json.loads(base64.b64decode(answer.requests[0].headers["X-Amz-Client-Context"]))
    context = LambdaContext("1", sent, None, 0)
    assert context.w3c() == {"traceparent": f"00-{TRACE}-{span.span_id}-01"}
    assert span.attributes["faas.invoked_name"] == "charge"
    assert span.attributes["faas.invoked_region"] == "us-east-1"
    assert span.attributes["faas.invoked_provider"] == "aws"
    assert span.attributes["aws.lambda.function_error"] == "Unhandled"


def test_only_the_libraries_that_are_set_are_recorded(handle: Handle) -> None:
    with lambdatrace.testing.recording({"LAMBDATRACE_PATCHES": "urllib3"}) as recorded:
        handle(lambda: Answer().to("dynamodb").list_tables())
        assert "DynamoDB.ListTables" not in [span.name for span in recorded.spans]


def test_a_library_that_another_tracer_patches_is_left_to_it(
    recorded: Recorded, handle: Handle
) -> None:
    leave("botocore")
    try:
        handle(lambda: Answer().to("dynamodb").list_tables())
    finally:
        take_back("botocore")
    assert "DynamoDB.ListTables" not in [span.name for span in recorded.spans]


def test_an_active_instrumentor_of_opentelemetrys_is_left_alone(
    recorded: Recorded, handle: Handle
) -> None:
    from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

    instrumentor: Any = BotocoreInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument()
    try:
        handle(lambda: Answer().to("dynamodb").list_tables())
    finally:
        instrumentor.uninstrument()
    scope = recorded.span("DynamoDB.ListTables").scope
    assert scope.name.startswith("opentelemetry.instrumentation.botocore")


def test_a_patched_function_keeps_its_name_documentation_and_signature(recorded: Recorded) -> None:
    function = botocore.client.BaseClient._make_api_call
    assert function.__name__ == "_make_api_call"
    assert list(inspect.signature(function).parameters) == ["self", "operation_name", "api_params"]
    assert "botocore" in inspect.unwrap(function).__code__.co_filename


def test_outside_of_lambda_a_patched_library_works_as_before() -> None:
    with lambdatrace.testing.recording():
        pass
    answer = Answer()
    answer.to("sqs").send_message(QueueUrl=SQS_URL, MessageBody="1")
    assert answer.body_sent == {"QueueUrl": SQS_URL, "MessageBody": "1"}


def test_an_endpoint_that_cannot_be_reached_is_an_error_without_a_status(
    recorded: Recorded, handle: Handle
) -> None:
    def call() -> None:
        unreachable = client("sqs", "http://127.0.0.1:9", connect_timeout=1)
        with pytest.raises(EndpointConnectionError):
            unreachable.list_queues()

    handle(call)
    span = recorded.span("SQS.ListQueues")
    assert span.attributes["error.type"] == "botocore.exceptions.EndpointConnectionError"
    assert "http.response.status_code" not in span.attributes


def test_a_server_takes_messages_with_the_context_on_them(
    recorded: Recorded, handle: Handle, moto_url: str
) -> None:
    def calls() -> tuple[Any, Any]:
        sqs, sns = client("sqs", moto_url), client("sns", moto_url)
        queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody="1")
        received = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])
        topic = sns.create_topic(Name="news")["TopicArn"]
        asked = {"QueueUrl": queue, "AttributeNames": ["QueueArn"]}
        queue_arn = sqs.get_queue_attributes(**asked)["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
        sns.publish(TopicArn=topic, Message="2")
        return received["Messages"][0], sqs.receive_message(QueueUrl=queue)["Messages"][0]

    message, from_topic = handle(calls)
    assert {span.scope.name for span in recorded.spans if span.kind in (CLIENT, PRODUCER)} == {
        "lambdatrace.patches.botocore"
    }
    sent = recorded.span("SQS.SendMessage")
    value = message["MessageAttributes"]["traceparent"]["StringValue"]
    assert value == f"00-{TRACE}-{sent.span_id}-01"
    assert sent.attributes["messaging.system"] == "aws_sqs"
    assert sent.attributes["messaging.operation.type"] == "send"
    assert sent.attributes["messaging.destination.name"] == "orders"
    assert sent.attributes["aws.sqs.queue.url"].endswith("/orders")
    assert sent.attributes["messaging.message.id"] == message["MessageId"]

    published = recorded.span("SNS.Publish")
    (attribute,) = json.loads(from_topic["Body"])["MessageAttributes"].values()
    assert attribute["Value"] == f"00-{TRACE}-{published.span_id}-01"
    assert published.attributes["messaging.destination.name"] == "news"
    assert published.attributes["aws.sns.topic.arn"].endswith(":news")


def test_a_server_takes_calls_of_other_services_whose_spans_tell_names_and_no_values(
    recorded: Recorded, handle: Handle, moto_url: str
) -> None:
    definition = '{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}'
    role = "arn:aws:iam::123456789012:role/any"

    def calls() -> tuple[bytes, Any]:
        kinesis = client("kinesis", moto_url)
        kinesis.create_stream(StreamName="clicks", ShardCount=1)
        kinesis.put_record(StreamName="clicks", Data=b'{"a": 1}', PartitionKey="1")
        s3 = client("s3", moto_url, s3={"addressing_style": "path"})
        place = {"LocationConstraint": "eu-west-1"}
        s3.create_bucket(Bucket="photos", CreateBucketConfiguration=place)
        s3.put_object(Bucket="photos", Key="cat.png", Body=b"hidden")
        body = s3.get_object(Bucket="photos", Key="cat.png")["Body"].read()
        entry = {"Source": "shop", "DetailType": "Paid", "Detail": '{"id": 7}'}
        put = client("events", moto_url).put_events(Entries=[entry])
        client("ssm", moto_url).put_parameter(Name="/shop/key", Value="hidden", Type="String")
        client("secretsmanager", moto_url).create_secret(Name="db", SecretString="hidden")
        states = client("stepfunctions", moto_url)
        made = states.create_state_machine(name="ship", definition=definition, roleArn=role)
        states.start_execution(stateMachineArn=made["stateMachineArn"])
        return body, put

    body, put = handle(calls)
    assert body == b"hidden"
    assert put["FailedEntryCount"] == 0
    attributes = {span.name: span.attributes for span in recorded.spans}
    assert attributes["Kinesis.PutRecord"]["aws.kinesis.stream_name"] == "clicks"
    assert attributes["S3.PutObject"]["aws.s3.bucket"] == "photos"
    assert attributes["S3.PutObject"]["aws.s3.key"] == "cat.png"
    assert attributes["EventBridge.PutEvents"]["messaging.destination.name"] == "default"
    assert attributes["EventBridge.PutEvents"]["aws.eventbridge.detail_type"] == "Paid"
    assert attributes["SSM.PutParameter"]["aws.ssm.parameter.names"] == ["/shop/key"]
    assert attributes["Secrets Manager.CreateSecret"]["aws.secretsmanager.secret.arn"]
    started = attributes["SFN.StartExecution"]
    assert started["aws.step_functions.state_machine.arn"].endswith(":ship")
    assert "hidden" not in str(attributes)
