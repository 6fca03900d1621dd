"""Tags of log groups and destinations, by both generations of operations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.definitions import DESTINATION, RESOURCE_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions
    from lambdatrace_collector.logs.groups import LogGroups

TAGS_MAX = 50  # source: CloudWatch Logs API reference, TagResource

_ARN = re.compile(r"arn:aws[a-z-]*:logs:[^:]*:\d{12}:(log-group|destination):([^:]+)")


class LogTags:
    """The operations on tags."""

    def __init__(self, groups: LogGroups, definitions: Definitions) -> None:
        self._groups = groups
        self._definitions = definitions

    async def tag_resource(self, call: Call) -> Mapping[str, Any]:
        """TagResource."""
        kind, name = _resource(call)
        tags = await self._tags(call, kind, name)
        await self._put(call, kind, name, checked_tags(tags, call.parameters["tags"]))
        return {}

    async def untag_resource(self, call: Call) -> Mapping[str, Any]:
        """UntagResource."""
        kind, name = _resource(call)
        tags = await self._tags(call, kind, name)
        await self._put(call, kind, name, _without(tags, call.parameters["tagKeys"]))
        return {}

    async def list_tags_for_resource(self, call: Call) -> Mapping[str, Any]:
        """ListTagsForResource."""
        return {"tags": await self._tags(call, *_resource(call))}

    async def tag_log_group(self, call: Call) -> Mapping[str, Any]:
        """TagLogGroup, the older TagResource."""
        name = call.parameters["logGroupName"]
        tags = (await self._groups.require_group(call, name)).tags
        await self._groups.update_group(
            call, name, tags=checked_tags(tags, call.parameters["tags"])
        )
        return {}

    async def untag_log_group(self, call: Call) -> Mapping[str, Any]:
        """UntagLogGroup, the older UntagResource."""
        name = call.parameters["logGroupName"]
        tags = (await self._groups.require_group(call, name)).tags
        await self._groups.update_group(call, name, tags=_without(tags, call.parameters["tags"]))
        return {}

    async def list_tags_log_group(self, call: Call) -> Mapping[str, Any]:
        """ListTagsLogGroup, the older ListTagsForResource."""
        group = await self._groups.require_group(call, call.parameters["logGroupName"])
        return {"tags": group.tags}

    async def _tags(self, call: Call, kind: str, name: str) -> Mapping[str, str]:
        if kind == "log-group":
            return (await self._groups.require_group(call, name)).tags
        if await self._definitions.get(call, DESTINATION, name) is None:
            raise AwsError("ResourceNotFoundException", "The specified resource does not exist.")
        return await self._definitions.get(call, RESOURCE_TAGS, name) or {}

    async def _put(self, call: Call, kind: str, name: str, tags: Mapping[str, str]) -> None:
        if kind == "log-group":
            await self._groups.update_group(call, name, tags=tags)
        else:
            await self._definitions.put(call, RESOURCE_TAGS, name, tags)


def checked_tags(tags: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """`tags` with `more`. Raises AwsError TooManyTagsException."""
    together = {**tags, **more}
    if len(together) > TAGS_MAX:
        raise AwsError(
            "TooManyTagsException",
            f"The resource would have {len(together)} tags: at most {TAGS_MAX} are allowed",
        )
    for key in more:
        if key.lower().startswith("aws:"):
            raise AwsError(
                "InvalidParameterException",
                f"Tag key '{key}' is reserved: 'aws:' is for tags that AWS services set",
            )
    return together


def _without(tags: Mapping[str, str], keys: Sequence[str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if key not in keys}


def _resource(call: Call) -> tuple[str, str]:
    match = _ARN.fullmatch(call.parameters["resourceArn"])
    if match is None:
        raise AwsError(
            "InvalidParameterException",
            f"resourceArn is '{call.parameters['resourceArn']}': expected the ARN of a log group"
            " or destination",
        )
    return match[1], match[2]
