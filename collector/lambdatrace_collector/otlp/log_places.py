"""Which log group and stream OTLP log records go to.

CloudWatch's endpoint takes them from the headers `x-aws-log-group` and `x-aws-log-stream`, and both
must exist. Without the headers, which CloudWatch refuses, each resource has its own, made when it
is first seen:

- a Lambda function (`faas.name`): `/aws/lambda/NAME`, stream `faas.instance`, as Lambda's own logs
- else `service.name`: `/otlp/NAME`, stream `service.instance.id`; without one, `default`
- else `/otlp/unknown_service`, stream `default`
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.call import Call, FromBody
from lambdatrace_collector.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Operation
    from lambdatrace_collector.otlp.signals import Origin

    Place = tuple[str, str]

GROUP_HEADER = "x-aws-log-group"
STREAM_HEADER = "x-aws-log-stream"
STREAM_DEFAULT = "default"
NAME_LENGTH_MAX = 512

# How long a place that was there is not asked for again: after its group was deleted, for so long
# records are still taken for it.
KNOWN_S = 5
KNOWN_MAX = 10_000

_NOT_IN_GROUP_NAME = re.compile(r"[^.\-_/#A-Za-z0-9]")
_NOT_IN_STREAM_NAME = re.compile(r"[:*]")


class LogPlaces:
    """Finds the places of a request's resources, and sees that they are there."""

    def __init__(self, operations: Mapping[tuple[str, str], Operation | FromBody]) -> None:
        self._operations = operations
        self._known_until: dict[tuple[str, Place], float] = {}

    async def of(self, resources: Sequence[Any], origin: Origin) -> list[Place]:
        """The group and stream of each resource.

        Raises AwsError when the headers name what does not exist, or only one of the two.
        """
        named = named_place(origin.headers)
        places = [named or default_place(resource.attributes) for resource in resources]
        for place in set(places):
            known = (origin.region, place)
            if self._known_until.get(known, 0) < time.monotonic():
                await (self._require(place, origin) if named else self._make(place, origin))
                if len(self._known_until) >= KNOWN_MAX:
                    self._known_until.clear()
                self._known_until[known] = time.monotonic() + KNOWN_S
        return places

    def forget(self) -> None:
        """Take no place for known: all may be gone."""
        self._known_until.clear()

    async def _require(self, place: Place, origin: Origin) -> None:
        group, stream = place
        answer = await self._call(
            origin,
            "DescribeLogStreams",
            # By name: the first one that begins with a whole name is that name's, if it is there.
            {"logGroupName": group, "logStreamNamePrefix": stream, "limit": 1},
        )
        if [found["logStreamName"] for found in answer["logStreams"]] != [stream]:
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")

    async def _make(self, place: Place, origin: Origin) -> None:
        group, stream = place
        for operation, names in (
            ("CreateLogGroup", {"logGroupName": group}),
            ("CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                await self._call(origin, operation, names)
            except AwsError as error:
                if error.code != "ResourceAlreadyExistsException":
                    raise

    async def _call(
        self, origin: Origin, operation: str, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        call = Call("logs", operation, parameters, origin.account, origin.region, origin.now_ms)
        offered = self._operations["logs", operation]
        run = offered.run if isinstance(offered, FromBody) else offered
        return await run(call)


def named_place(headers: Mapping[str, str]) -> Place | None:
    """The place that the headers name; None when they name none.

    Raises AwsError when only one of the two is there.
    """
    group, stream = headers.get(GROUP_HEADER, ""), headers.get(STREAM_HEADER, "")
    if bool(group) != bool(stream):
        missing = STREAM_HEADER if group else GROUP_HEADER
        raise AwsError("InvalidParameterException", f"The header {missing} is missing: send both.")
    return (group, stream) if group else None


def default_place(attributes: Sequence[Any]) -> Place:
    """The place of a resource with these attributes."""
    texts = {pair.key: pair.value.string_value for pair in attributes}
    function, service = texts.get("faas.name"), texts.get("service.name")
    group = f"/aws/lambda/{function}" if function else f"/otlp/{service or 'unknown_service'}"
    stream = texts.get("faas.instance" if function else "service.instance.id") or STREAM_DEFAULT
    return (
        _NOT_IN_GROUP_NAME.sub("_", group)[:NAME_LENGTH_MAX],
        _NOT_IN_STREAM_NAME.sub("_", stream)[:NAME_LENGTH_MAX],
    )
