"""Saved queries of Logs Insights."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.errors import AwsError
from lambdatrace_collector.logs.definitions import QUERY_DEFINITION, invalid_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.logs.definitions import Definitions

PAGE_MAX = 1000


class QueryDefinitions:
    """The operations on saved queries."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    async def put_query_definition(self, call: Call) -> Mapping[str, Any]:
        """PutQueryDefinition: with an id changes that one, else makes one."""
        parameters = call.parameters
        given = parameters.get("queryDefinitionId")
        if given is not None:
            await self._require(call, given)
        definition_id = given or str(uuid.uuid4())
        definition = {
            "queryLanguage": parameters.get("queryLanguage", "CWLI"),
            "queryDefinitionId": definition_id,
            "name": parameters["name"],
            "queryString": parameters["queryString"],
            "lastModified": call.now_ms,
            "logGroupNames": parameters.get("logGroupNames", []),
            "parameters": parameters.get("parameters"),
        }
        await self._definitions.put(call, QUERY_DEFINITION, definition_id, definition)
        return {"queryDefinitionId": definition_id}

    async def describe_query_definitions(self, call: Call) -> Mapping[str, Any]:
        """DescribeQueryDefinitions, by name."""
        parameters = call.parameters
        token = parameters.get("nextToken")
        after = decode_token(token, str, str, invalid=invalid_token) if token else ("", "")
        limit = parameters.get("maxResults", PAGE_MAX)
        language = parameters.get("queryLanguage")
        matching = sorted(
            (
                definition
                for _, _, definition in await self._definitions.page(call, QUERY_DEFINITION)
                if definition["name"].startswith(parameters.get("queryDefinitionNamePrefix", ""))
                and language in (None, definition["queryLanguage"])
                and _place(definition) > after
            ),
            key=_place,
        )
        page = matching[:limit]
        return {
            "queryDefinitions": page,
            "nextToken": encode_token(*_place(page[-1])) if len(matching) > limit else None,
        }

    async def delete_query_definition(self, call: Call) -> Mapping[str, Any]:
        """DeleteQueryDefinition."""
        definition_id = call.parameters["queryDefinitionId"]
        await self._require(call, definition_id)
        await self._definitions.delete(call, QUERY_DEFINITION, definition_id)
        return {"success": True}

    async def _require(self, call: Call, definition_id: str) -> None:
        if await self._definitions.get(call, QUERY_DEFINITION, definition_id) is None:
            raise AwsError(
                "ResourceNotFoundException",
                f"The query definition '{definition_id}' does not exist.",
            )


def _place(definition: Mapping[str, Any]) -> tuple[str, str]:
    return definition["name"], definition["queryDefinitionId"]
