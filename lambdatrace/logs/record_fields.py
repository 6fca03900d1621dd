"""Which attributes of a record are `logging`'s and the runtime's own; all others are the user's."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Keys that a record has no room for, since `logging` has an attribute of the name: the structured
# logger puts them here.
CLASHING = "lambdatrace_keys"

# What marks a structured logger: it keeps its lines from the root, and yet they are to be sent.
STRUCTURED = "lambdatrace_structured"

RESERVED = frozenset(
    (
        *vars(logging.makeLogRecord({})),
        *("message", "asctime", "taskName"),
    )
)
# What is added to each record on its way: by us, and by the runtime client's filter and formatter.
_ADDED = frozenset(
    (*("trace_id", "span_id", "trace_flags"), *("aws_request_id", "tenant_id", "_frame_type"))
)
_NOT_THE_USERS = RESERVED | _ADDED | {CLASHING}


def user_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What the user's call gave in `extra`, of a record's `fields`."""
    found = {key: value for key, value in fields.items() if key not in _NOT_THE_USERS}
    clashing = fields.get(CLASHING)
    if isinstance(clashing, dict):
        found.update(clashing)
    return found
