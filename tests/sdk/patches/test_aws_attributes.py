from __future__ import annotations

import ast
import copy
from pathlib import Path
from typing import Any

import botocore.session
import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdatrace.patches import aws_attributes, aws_context
from lambdatrace.patches import botocore as botocore_patch
from lambdatrace.patches.aws_attributes import function_name, read_request, read_response

# What the conventions have no key for.
OWN_KEYS = {
    "aws.eventbridge.source",
    "aws.eventbridge.detail_type",
    "aws.failed_entry_count",
    "aws.lambda.function_error",
    "aws.secretsmanager.secret.name",
    "aws.ssm.parameter.names",
    "aws.step_functions.execution.arn",
}


def conventions() -> set[str]:
    """Every attribute that OpenTelemetry's semantic conventions name."""
    found = set()
    for package in (incubating, stable):
        for path in Path(package.__path__[0]).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
                    found.add(str(node.value.value))
    return found


def test_every_attribute_is_of_the_conventions_or_listed_as_our_own() -> None:
    used = {
        node.value
        for path in Path(aws_attributes.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(
            ("aws.", "db.", "messaging.", "faas.", "http.re", "url.", "server.", "rpc.", "cloud.")
        )
    }
    values = {"aws.sns", "aws.dynamodb"}  # of messaging.system and db.system.name
    assert used - conventions() - OWN_KEYS - values == set()
    assert len(used) > 40


def test_every_attribute_the_conventions_have_for_these_services_is_used_but_for_one() -> None:
    source = Path(aws_attributes.__file__).read_text()
    services = ("dynamodb", "kinesis", "s3", "secretsmanager", "sns", "sqs", "step_functions")
    named = {key for key in conventions() if key.startswith(tuple(f"aws.{s}." for s in services))}
    assert {key for key in named if f'"{key}"' not in source} == {
        # It has the values of the items' keys.
        "aws.dynamodb.item_collection_metrics",
    }
    assert len(named) > 30


def test_what_a_call_has_made_is_named_as_its_answer_says() -> None:
    assert read_response("SQS", "GetQueueUrl", {"QueueUrl": "https://q/1/jobs"}) == {
        "aws.sqs.queue.url": "https://q/1/jobs"
    }
    assert read_response("SNS", "CreateTopic", {"TopicArn": "arn:news"}) == {
        "aws.sns.topic.arn": "arn:news"
    }
    assert read_response("SFN", "CreateActivity", {"activityArn": "arn:a"}) == {
        "aws.step_functions.activity.arn": "arn:a"
    }
    mapping = {"UUID": "1-2", "EventSourceArn": "arn:q"}
    assert read_response("Lambda", "CreateEventSourceMapping", mapping) == {
        "aws.lambda.resource_mapping.id": "1-2"
    }


def test_a_copied_object_is_named_with_its_version() -> None:
    source = {"Bucket": "photos", "Key": "a.png", "VersionId": "7"}
    assert read_request("S3", "CopyObject", {"Bucket": "b", "CopySource": source}) == {
        "aws.s3.bucket": "b",
        "aws.s3.copy_source": "photos/a.png?versionId=7",
    }


def test_every_operation_and_parameter_is_one_of_the_services() -> None:
    session = botocore.session.get_session()
    models = {
        str(model.service_id): model
        for name in ("sqs", "sns", "kinesis", "events", "lambda", "stepfunctions", "s3", "dynamodb")
        for model in [session.get_service_model(name)]
    }
    for service, operation in [*aws_attributes.SENDS, *aws_context._WRITERS]:
        assert operation in models[service].operation_names
    assert {service for service, _ in aws_context._WRITERS} == botocore_patch._WITH_PLACES
    for (service, operation), batch in aws_attributes.SENDS.items():
        members = models[service].operation_model(operation).input_shape.members
        assert batch is None or batch in members
    for service, parameters in aws_attributes._PLAIN.items():
        members = {
            member
            for operation in models[service].operation_names
            for shape in [models[service].operation_model(operation).input_shape]
            for member in (shape.members if shape else ())
        }
        assert set(parameters) <= members


def test_a_table_that_is_created_tells_its_capacity_and_indexes() -> None:
    index = {"IndexName": "by_day", "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}]}
    parameters = {
        "TableName": "orders",
        "AttributesToGet": ["id", "day"],
        "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
        "GlobalSecondaryIndexes": [index],
        "AttributeDefinitions": [{"AttributeName": "day", "AttributeType": "S"}],
        "LocalSecondaryIndexes": [{"IndexName": "by_hour"}],
        "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by_year"}}],
    }
    assert read_request("DynamoDB", "CreateTable", parameters) == {
        "db.system.name": "aws.dynamodb",
        "db.operation.name": "CreateTable",
        "db.collection.name": "orders",
        "aws.dynamodb.table_names": ["orders"],
        "aws.dynamodb.attributes_to_get": ["id", "day"],
        "aws.dynamodb.provisioned_read_capacity": 5.0,
        "aws.dynamodb.provisioned_write_capacity": 6.0,
        "aws.dynamodb.attribute_definitions": ['{"AttributeName": "day", "AttributeType": "S"}'],
        "aws.dynamodb.local_secondary_indexes": ['{"IndexName": "by_hour"}'],
        "aws.dynamodb.global_secondary_index_updates": ['{"Delete": {"IndexName": "by_year"}}'],
        "aws.dynamodb.global_secondary_indexes": [
            '{"IndexName": "by_day", "KeySchema": [{"AttributeName": "day", "KeyType": "HASH"}]}'
        ],
    }


@pytest.mark.parametrize(
    ("operation", "more", "count"),
    [
        ("DeleteMessage", {"ReceiptHandle": "secret"}, {}),
        ("DeleteMessageBatch", {"Entries": [{}, {}]}, {"messaging.batch.message_count": 2}),
    ],
)
def test_messages_that_are_deleted_are_settled(
    operation: str, more: dict[str, Any], count: dict[str, int]
) -> None:
    queue = "https://sqs.eu-west-1.amazonaws.com/1/jobs"
    assert read_request("SQS", operation, {"QueueUrl": queue, **more}) == {
        "aws.sqs.queue.url": queue,
        "messaging.system": "aws_sqs",
        "messaging.operation.name": operation,
        "messaging.operation.type": "settle",
        "messaging.destination.name": "jobs",
        **count,
    }


def test_objects_that_are_deleted_are_named_as_the_command_line_names_them() -> None:
    keys: list[dict[str, str]] = [{"Key": "a"}, {"Key": "b", "VersionId": "7"}]
    parameters = {"Bucket": "photos", "Delete": {"Objects": keys, "Quiet": True}}
    assert read_request("S3", "DeleteObjects", parameters) == {
        "aws.s3.bucket": "photos",
        "aws.s3.delete": "Objects=[{Key=a},{Key=b,VersionId=7}],Quiet=true",
    }
    parameters["Delete"] = {"Objects": [{"Key": "a"}] * 1000}
    text = read_request("S3", "DeleteObjects", parameters)["aws.s3.delete"]
    assert text.count("Key=a") == aws_attributes.NAMES_MAX


@pytest.mark.parametrize(
    "text",
    [
        "charge",
        "charge:live",
        "123456789012:function:charge",
        "function:charge:7",
        "arn:aws:lambda:eu-west-1:123456789012:function:charge",
        "arn:aws:lambda:eu-west-1:123456789012:function:charge:$LATEST",
    ],
)
def test_a_function_is_called_by_its_bare_name(text: str) -> None:
    assert function_name(text) == "charge"


@pytest.mark.parametrize(
    ("operation", "parameters", "tables", "size"),
    [
        ("BatchGetItem", {"RequestItems": {"b": {"Keys": [{}, {}]}, "a": {"Keys": [{}]}}}, "ab", 3),
        ("BatchWriteItem", {"RequestItems": {"a": [{}, {}]}}, "a", 2),
        (
            "TransactWriteItems",
            {"TransactItems": [{"Put": {"TableName": "a"}}, {"Delete": {"TableName": "c"}}]},
            "ac",
            2,
        ),
    ],
)
def test_a_call_on_several_tables_names_them_all(
    operation: str, parameters: dict[str, Any], tables: str, size: int
) -> None:
    attributes = read_request("DynamoDB", operation, parameters)
    assert attributes["aws.dynamodb.table_names"] == list(tables)
    assert attributes["db.operation.batch.size"] == size
    assert attributes.get("db.collection.name") == (tables if len(tables) == 1 else None)


NAMES = sorted(
    {name for names in aws_attributes._PLAIN.values() for name in names}
    | {"Entries", "FunctionName", "Names", "CopySource", "SecretId", "TableName", "RequestItems"}
    | {"TransactItems", "MessageAttributes", "MessageBody", "Records", "Data", "ClientContext"}
    | {"PublishBatchRequestEntries", "Keys", "Put", "Detail", "EventBusName", "StreamARN"}
    | {"AttributesToGet", "ProvisionedThroughput", "ReadCapacityUnits", "GlobalSecondaryIndexes"}
    | {"Delete", "Objects", "Key", "VersionId", "Quiet"}
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=8,
)
CALLS = sorted(
    {(service, "Get") for service in aws_attributes._REQUESTS}
    | set(aws_attributes.SENDS)
    | set(aws_context._WRITERS)
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CALLS), st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=6))
def test_parameters_of_any_type_are_read_and_left_as_they_are(
    call: tuple[str, str], parameters: dict[str, Any]
) -> None:
    before = copy.deepcopy(parameters)
    attributes = read_request(*call, parameters, "eu-west-1")
    assert all(value is not None for value in attributes.values())
    aws_context.add_context(*call, parameters, {"traceparent": "x"}, "Root=1", None)
    assert parameters == before
