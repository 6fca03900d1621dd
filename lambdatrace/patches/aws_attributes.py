"""What a call of an AWS API tells of itself: parameters and answers → attributes.

Names, never contents: of a secret, a parameter, an item or a message only what it is called.
Sources: OpenTelemetry semantic conventions, "AWS SDK", "DynamoDB", "S3", "Messaging", "FaaS".
Keys that the conventions lack are `aws.` and the service's own term.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Parameters = dict[str, Any]
    Attributes = dict[str, Any]

NAMES_MAX = 50  # of tables, parameters, …: one call takes at most 100

# (service, operation) → the parameter with the batch, None for a single message.
SENDS: dict[tuple[str, str], str | None] = {
    ("SQS", "SendMessage"): None,
    ("SQS", "SendMessageBatch"): "Entries",
    ("SNS", "Publish"): None,
    ("SNS", "PublishBatch"): "PublishBatchRequestEntries",
    ("Kinesis", "PutRecord"): None,
    ("Kinesis", "PutRecords"): "Records",
    ("EventBridge", "PutEvents"): "Entries",
}

# Those that say what becomes of a message: → the parameter with the batch, None for a single one.
_SETTLES = {("SQS", "DeleteMessage"): None, ("SQS", "DeleteMessageBatch"): "Entries"}

# Parameter → attribute, for those that are taken as they are.
_PLAIN: dict[str, dict[str, str]] = {
    "S3": {
        "Bucket": "aws.s3.bucket",
        "Key": "aws.s3.key",
        "UploadId": "aws.s3.upload_id",
        "PartNumber": "aws.s3.part_number",
    },
    "SQS": {"QueueUrl": "aws.sqs.queue.url"},
    "SNS": {"TopicArn": "aws.sns.topic.arn"},
    "Kinesis": {"StreamName": "aws.kinesis.stream_name"},
    "SFN": {
        "stateMachineArn": "aws.step_functions.state_machine.arn",
        "activityArn": "aws.step_functions.activity.arn",
        "executionArn": "aws.step_functions.execution.arn",
    },
    "Lambda": {"UUID": "aws.lambda.resource_mapping.id"},
    "DynamoDB": {
        "ConsistentRead": "aws.dynamodb.consistent_read",
        "ProjectionExpression": "aws.dynamodb.projection",
        "IndexName": "aws.dynamodb.index_name",
        "Limit": "aws.dynamodb.limit",
        "ScanIndexForward": "aws.dynamodb.scan_forward",
        "Segment": "aws.dynamodb.segment",
        "Select": "aws.dynamodb.select",
        "TotalSegments": "aws.dynamodb.total_segments",
        "ExclusiveStartTableName": "aws.dynamodb.exclusive_start_table",
    },
}

# What answers name: made by the call, or looked up. Service → field and attribute.
_MADE: dict[str, tuple[tuple[str, str], ...]] = {
    "SQS": (("QueueUrl", "aws.sqs.queue.url"),),
    "SNS": (("TopicArn", "aws.sns.topic.arn"),),
    "Lambda": (("UUID", "aws.lambda.resource_mapping.id"),),
    "Secrets Manager": (("ARN", "aws.secretsmanager.secret.arn"),),
    "SFN": (
        ("executionArn", "aws.step_functions.execution.arn"),
        ("stateMachineArn", "aws.step_functions.state_machine.arn"),
        ("activityArn", "aws.step_functions.activity.arn"),
    ),
}

_SYSTEMS = {
    "SQS": "aws_sqs",
    "SNS": "aws.sns",
    "Kinesis": "aws_kinesis",
    "EventBridge": "aws_eventbridge",
}


def is_send(service: str, operation: str) -> bool:
    """Whether the call gives messages to a queue, topic, stream or bus."""
    return (service, operation) in SENDS


def read_request(
    service: str, operation: str, parameters: Parameters, region: str = ""
) -> Attributes:
    """The attributes that the parameters of a call give."""
    attributes: Attributes = {}
    plain = _PLAIN.get(service)
    if plain is not None:
        for name, value in parameters.items():
            if name in plain and isinstance(value, (str, int)):
                attributes[plain[name]] = value
    more = _REQUESTS.get(service)
    if more is not None:
        more(operation, parameters, attributes, region)
    return attributes


def read_response(service: str, operation: str, response: Parameters) -> Attributes:
    """The attributes that the answer to a call gives."""
    if service == "DynamoDB":
        return _read_dynamodb_answer(response)
    made = _MADE.get(service, ())
    attributes = {key: response[name] for name, key in made if isinstance(response.get(name), str)}
    if is_send(service, operation):
        message_id = response.get("MessageId")
        if isinstance(message_id, str):
            attributes["messaging.message.id"] = message_id
        failed = response.get("Failed") or ()
        count = response.get("FailedEntryCount") or response.get("FailedRecordCount") or len(failed)
        if count:
            # The call succeeds although some of its messages did not.
            attributes["aws.failed_entry_count"] = count
    elif operation == "ReceiveMessage":
        attributes["messaging.batch.message_count"] = len(response.get("Messages") or ())
    elif service == "Lambda" and isinstance(response.get("FunctionError"), str):
        attributes["aws.lambda.function_error"] = response["FunctionError"]
    return attributes


def _read_messaging(
    service: str, operation: str, parameters: Parameters, attributes: Attributes, destination: str
) -> None:
    call = (service, operation)
    if call in SENDS:
        operation_type = "send"
    elif call in _SETTLES:
        operation_type = "settle"
    elif operation == "ReceiveMessage":
        operation_type = "receive"
    else:
        return
    attributes["messaging.system"] = _SYSTEMS[service]
    attributes["messaging.operation.name"] = operation
    attributes["messaging.operation.type"] = operation_type
    if destination:
        attributes["messaging.destination.name"] = destination
    batch = SENDS.get(call) or _SETTLES.get(call)
    if batch is not None:
        attributes["messaging.batch.message_count"] = len(_list(parameters.get(batch)))


def _read_sqs(operation: str, parameters: Parameters, attributes: Attributes, _: str) -> None:
    queue = _text(parameters.get("QueueUrl")).rpartition("/")[2]
    _read_messaging("SQS", operation, parameters, attributes, queue)


def _read_sns(operation: str, parameters: Parameters, attributes: Attributes, _: str) -> None:
    # A phone number is nobody's business.
    arn = _text(parameters.get("TopicArn")) or _text(parameters.get("TargetArn"))
    _read_messaging("SNS", operation, parameters, attributes, arn.rpartition(":")[2])


def _read_kinesis(operation: str, parameters: Parameters, attributes: Attributes, _: str) -> None:
    stream = _text(parameters.get("StreamName"))
    if not stream:
        stream = _text(parameters.get("StreamARN")).rpartition("/")[2]
        if stream:
            attributes["aws.kinesis.stream_name"] = stream
    _read_messaging("Kinesis", operation, parameters, attributes, stream)


def _read_eventbridge(
    operation: str, parameters: Parameters, attributes: Attributes, _: str
) -> None:
    entries = [entry for entry in _list(parameters.get("Entries")) if isinstance(entry, dict)]
    buses = {_text(entry.get("EventBusName")) or "default" for entry in entries}
    bus = buses.pop().rpartition("/")[2] if len(buses) == 1 else ""
    _read_messaging("EventBridge", operation, parameters, attributes, bus)
    for name, key in (
        ("Source", "aws.eventbridge.source"),
        ("DetailType", "aws.eventbridge.detail_type"),
    ):
        values = {_text(entry.get(name)) for entry in entries}
        value = values.pop() if len(values) == 1 else ""
        if value:
            attributes[key] = value


def _read_s3(_operation: str, parameters: Parameters, attributes: Attributes, _: str) -> None:
    source = parameters.get("CopySource")
    if isinstance(source, dict):
        version = f"?versionId={source['VersionId']}" if "VersionId" in source else ""
        source = f"{source.get('Bucket')}/{source.get('Key')}{version}"
    if isinstance(source, str):
        attributes["aws.s3.copy_source"] = source
    delete = parameters.get("Delete")
    if isinstance(delete, dict):
        attributes["aws.s3.delete"] = _delete_shorthand(delete)


def _delete_shorthand(delete: Parameters) -> str:
    """What DeleteObjects deletes, in the shorthand of AWS's command line, as the conventions do."""
    objects = [
        ",".join(f"{name}={one[name]}" for name in ("Key", "VersionId") if _text(one.get(name)))
        for one in _list(delete.get("Objects"))[:NAMES_MAX]
        if isinstance(one, dict)
    ]
    text = f"Objects=[{','.join(f'{{{one}}}' for one in objects)}]"
    return f"{text},Quiet={str(delete['Quiet']).lower()}" if "Quiet" in delete else text


def _read_lambda(
    operation: str, parameters: Parameters, attributes: Attributes, region: str
) -> None:
    name = _text(parameters.get("FunctionName"))
    if not operation.startswith("Invoke") or not name:
        return
    attributes["faas.invoked_provider"] = "aws"
    attributes["faas.invoked_name"] = function_name(name)
    parts = name.split(":")
    is_arn = parts[0] == "arn" and len(parts) > 6  # noqa: PLR2004 - arn:…:function:name
    invoked_region = parts[3] if is_arn else region
    if invoked_region:
        attributes["faas.invoked_region"] = invoked_region


def function_name(text: str) -> str:
    """The bare name in a FunctionName: a name, `name:qualifier`, a partial or a full ARN."""
    before, found, after = text.partition("function:")
    return (after if found and (not before or before.endswith(":")) else text).partition(":")[0]


def _read_secrets(_operation: str, parameters: Parameters, attributes: Attributes, _: str) -> None:
    secret_id = _text(parameters.get("SecretId"))
    if secret_id.startswith("arn:"):
        attributes["aws.secretsmanager.secret.arn"] = secret_id
    elif secret_id:
        attributes["aws.secretsmanager.secret.name"] = secret_id


def _read_parameters(
    _operation: str, parameters: Parameters, attributes: Attributes, _: str
) -> None:
    names = _list(parameters.get("Names")) or [parameters.get("Name") or parameters.get("Path")]
    found = [name for name in names if isinstance(name, str)][:NAMES_MAX]
    if found:
        attributes["aws.ssm.parameter.names"] = found


def _read_dynamodb(
    operation: str, parameters: Parameters, attributes: Attributes, region: str
) -> None:
    attributes["db.system.name"] = "aws.dynamodb"
    attributes["db.operation.name"] = operation
    if region:
        attributes["db.namespace"] = region
    table = parameters.get("TableName")
    if isinstance(table, str):
        attributes["aws.dynamodb.table_names"] = [table]
        attributes["db.collection.name"] = table
    elif "RequestItems" in parameters or "TransactItems" in parameters:
        _read_batch(parameters, attributes)
    names = [name for name in _list(parameters.get("AttributesToGet")) if isinstance(name, str)]
    if names:
        attributes["aws.dynamodb.attributes_to_get"] = names[:NAMES_MAX]
    if operation in ("CreateTable", "UpdateTable"):
        _read_table(parameters, attributes)


def _read_table(parameters: Parameters, attributes: Attributes) -> None:
    """What CreateTable and UpdateTable say of the table."""
    throughput = parameters.get("ProvisionedThroughput")
    if isinstance(throughput, dict):
        for name, key in (
            ("ReadCapacityUnits", "aws.dynamodb.provisioned_read_capacity"),
            ("WriteCapacityUnits", "aws.dynamodb.provisioned_write_capacity"),
        ):
            if isinstance(throughput.get(name), int):
                attributes[key] = float(throughput[name])
    for name, key in (
        ("AttributeDefinitions", "aws.dynamodb.attribute_definitions"),
        ("GlobalSecondaryIndexes", "aws.dynamodb.global_secondary_indexes"),
        ("GlobalSecondaryIndexUpdates", "aws.dynamodb.global_secondary_index_updates"),
        ("LocalSecondaryIndexes", "aws.dynamodb.local_secondary_indexes"),
    ):
        rows = _list(parameters.get(name))
        if rows:
            attributes[key] = _json_rows(rows)


def _read_batch(parameters: Parameters, attributes: Attributes) -> None:
    tables = _tables(parameters)[:NAMES_MAX]
    if tables:
        attributes["aws.dynamodb.table_names"] = tables
    if len(tables) == 1:
        attributes["db.collection.name"] = tables[0]
    size = _batch_size(parameters)
    if size > 1:
        attributes["db.operation.batch.size"] = size


def _tables(parameters: Parameters) -> list[str]:
    if isinstance(parameters.get("RequestItems"), dict):
        return sorted(name for name in parameters["RequestItems"] if isinstance(name, str))
    found = {
        step.get("TableName")
        for item in _list(parameters.get("TransactItems"))
        if isinstance(item, dict)
        for step in item.values()
        if isinstance(step, dict)
    }
    return sorted(name for name in found if isinstance(name, str))


def _batch_size(parameters: Parameters) -> int:
    requests = parameters.get("RequestItems")
    if isinstance(requests, dict):
        return sum(
            len(part) if isinstance(part, list) else len(_list(part.get("Keys")))
            for part in requests.values()
            if isinstance(part, (list, dict))
        )
    return len(_list(parameters.get("TransactItems")))


def _read_dynamodb_answer(response: Parameters) -> Attributes:
    attributes: Attributes = {}
    for name, key in (
        ("Count", "aws.dynamodb.count"),
        ("ScannedCount", "aws.dynamodb.scanned_count"),
    ):
        if isinstance(response.get(name), int):
            attributes[key] = response[name]
    consumed = response.get("ConsumedCapacity")
    if consumed:
        rows = consumed if isinstance(consumed, list) else [consumed]
        attributes["aws.dynamodb.consumed_capacity"] = _json_rows(rows)
    if isinstance(response.get("TableNames"), list):
        attributes["aws.dynamodb.table_count"] = len(response["TableNames"])
    return attributes


def _json_rows(rows: list[Any] | tuple[Any, ...]) -> list[str]:
    import json

    return [json.dumps(row, default=str) for row in rows[:NAMES_MAX]]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    """`value` if it is a list: botocore refuses a request of wrong types only after us."""
    return value if isinstance(value, (list, tuple)) else ()


_REQUESTS: dict[str, Callable[[str, Parameters, Attributes, str], None]] = {
    "SQS": _read_sqs,
    "SNS": _read_sns,
    "Kinesis": _read_kinesis,
    "EventBridge": _read_eventbridge,
    "S3": _read_s3,
    "Lambda": _read_lambda,
    "Secrets Manager": _read_secrets,
    "SSM": _read_parameters,
    "DynamoDB": _read_dynamodb,
}
