"""Pack what was ordered, a batch of SQS messages at a time.

Shows: a span per message, linked to the trace that sent it, and a partial batch response.
"""

from __future__ import annotations

import json
from typing import Any

import lambdatrace


@lambdatrace.instrument
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Pack each order; a samovar is out of stock and goes back to the queue."""
    failures = []
    for message in lambdatrace.messages(event):
        order = json.loads(message["body"])
        with lambdatrace.span("pack", attributes={"order.id": order["id"]}) as span:
            if any(item["sku"] == "samovar" for item in order["items"]):
                span.set_error("out of stock")
                failures.append({"itemIdentifier": message["messageId"]})
    lambdatrace.metric("OrdersPacked", len(event["Records"]) - len(failures), unit="Count")
    return {"batchItemFailures": failures}
