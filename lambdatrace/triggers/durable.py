"""Invocations of a durable execution.

Source: `aws-durable-execution-sdk-python` 3.0, `DurableExecutionInvocationInput`.
"""

from __future__ import annotations

from lambdatrace.durable import DurableExecution
from lambdatrace.triggers import Trigger, mapping, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(event: dict[str, Any]) -> Trigger | None:
    """The execution that the invocation belongs to."""
    arn = text(event.get("DurableExecutionArn"))
    if not arn:
        return None
    state = mapping(event.get("InitialExecutionState"))
    operations = state.get("Operations")
    found = [mapping(item) for item in operations] if isinstance(operations, list) else []
    own = [item for item in found if item.get("Type") == "EXECUTION"]
    started_ms = own[0].get("StartTimestamp") if own else 0
    if isinstance(started_ms, bool) or not isinstance(started_ms, (int, float)):
        started_ms = 0
    # More pages than one hold more than the execution itself.
    is_first = len(own) == len(found) and not state.get("NextMarker")
    execution = DurableExecution(arn, max(int(started_ms), 0), is_first=is_first)
    return Trigger("other", execution.attributes(), execution=execution)
