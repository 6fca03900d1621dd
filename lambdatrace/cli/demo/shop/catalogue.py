"""Read a price list that was put into S3, and check the stock each night.

Shows: a function without any line of lambdatrace. Its handler is `lambdatrace.auto.handler`, and
LAMBDATRACE_HANDLER names this one.
"""

from __future__ import annotations

from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take an S3 notification or a schedule's tick."""
    if "Records" in event:
        return {"read": [record["s3"]["object"]["key"] for record in event["Records"]]}
    return {"checked": event["time"]}
