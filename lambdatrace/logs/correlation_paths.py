"""Where an event has the id that ties its logs to the caller's, by source: as in Powertools.

A path is names between dots, each in double quotes where it has a dot or a dash itself; a number in
brackets is a place in a list.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

API_GATEWAY_REST = "requestContext.requestId"
API_GATEWAY_HTTP = API_GATEWAY_REST
APPSYNC_AUTHORIZER = "requestContext.requestId"
APPSYNC_RESOLVER = 'request.headers."x-amzn-trace-id"'
APPLICATION_LOAD_BALANCER = 'headers."x-amzn-trace-id"'
EVENT_BRIDGE = "id"
LAMBDA_FUNCTION_URL = API_GATEWAY_REST
S3_OBJECT_LAMBDA = "xAmzRequestId"
VPC_LATTICE = 'headers."x-amzn-trace-id"'

_STEP = re.compile(r'\.?(?:"([^"]*)"|\[(\d{1,6})\]|([^."\[\]]+))')


def look_up(path: str, event: Any) -> Any:
    """What is at `path` in `event`; None if there is nothing."""
    found, position = event, 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            return None
        position = step.end()
        quoted, place, name = step.groups()
        if place is not None:
            is_there = isinstance(found, list) and int(place) < len(found)
            found = found[int(place)] if is_there else None
        else:
            found = found.get(quoted or name) if isinstance(found, dict) else None
    return found
