"""POST /orders, behind an API Gateway HTTP API: price the order, charge it, pass it on.

Shows: a decorated handler, spans, metrics, and calling another function within the same trace.
"""

from __future__ import annotations

import lambdatrace  # first, so that what the other imports cost is seen

import json
from typing import Any

import boto3

PRICES = {"teapot": 24.0, "kettle": 39.5, "samovar": 480.0}

lambda_client = boto3.client("lambda")


@lambdatrace.instrument
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take one order."""
    order = json.loads(event["body"])
    with lambdatrace.span("price order", attributes={"order.id": order["id"]}) as span:
        total = sum(PRICES[item["sku"]] * item["quantity"] for item in order["items"])
        span.set_attribute("order.total", total)
    if not charge(order["id"], total):
        return {"statusCode": 502, "body": json.dumps({"error": "payment failed"})}
    lambdatrace.metric("OrdersPlaced", 1, unit="Count", dimensions={"tier": order["tier"]})
    lambdatrace.metric("OrderValue", total)
    return {"statusCode": 201, "body": json.dumps({"total": total, "send": pass_on(order)})}


def charge(order_id: str, total: float) -> bool:
    """Invoke the payments function: boto3's calls are spans, and carry the trace along."""
    with lambdatrace.span("charge order") as span:
        answer = lambda_client.invoke(
            FunctionName="payments",
            Payload=json.dumps({"order_id": order_id, "amount": total}).encode(),
        )
        error = answer.get("FunctionError")
        if error:
            span.set_error(json.load(answer["Payload"])["errorMessage"])
        return not error


def pass_on(order: dict[str, Any]) -> dict[str, Any]:
    """The arguments for `sqs.send_message`, with the trace in the system attribute for it.

    A laptop has no SQS: the demo takes them from the answer and makes the batch itself.
    """
    with lambdatrace.span("send orders-queue", kind="producer") as span:
        trace_header = span.inject()["X-Amzn-Trace-Id"]
        return {
            "MessageBody": json.dumps(order),
            "MessageSystemAttributes": {
                "AWSTraceHeader": {"DataType": "String", "StringValue": trace_header}
            },
        }
