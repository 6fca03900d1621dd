"""One span and one metric exported for each invocation, by lambdatrace."""

from __future__ import annotations

from typing import Any

import lambdatrace


@lambdatrace.instrument
def handler(event: Any, context: Any) -> Any:
    lambdatrace.metric("OrdersPlaced", 1, unit="Count", dimensions={"tier": "gold"})
    return {"statusCode": 200}
