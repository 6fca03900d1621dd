"""GetMetricData: several metrics and expressions in one call, in pages of datapoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.aws.paging import decode_token, encode_token
from lambdatrace_collector.metrics.metric_queries import parse_request, validation_error
from lambdatrace_collector.metrics.query_results import query_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lambdatrace_collector.aws.call import Call
    from lambdatrace_collector.errors import AwsError
    from lambdatrace_collector.metrics.query_results import QueryResult
    from lambdatrace_collector.store.engine import Store

# Source: CloudWatch API reference, GetMetricData.
DATAPOINTS_MAX = 100_800


class MetricData:
    """The operation GetMetricData."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_metric_data(self, call: Call) -> Mapping[str, Any]:
        """GetMetricData. A page ends at MaxDatapoints; NextToken says where the next one begins."""
        parameters = call.parameters
        request = parse_request(call)
        room = parameters.get("MaxDatapoints", DATAPOINTS_MAX)
        if not 1 <= room <= DATAPOINTS_MAX:
            raise validation_error(
                f"The parameter MaxDatapoints must be from 1 to {DATAPOINTS_MAX}."
            )
        place, skipped = _place(parameters.get("NextToken"))
        is_descending = parameters.get("ScanBy", "TimestampDescending") == "TimestampDescending"
        results, are_all = await query_results(self._store, call, request, place, skipped + room)
        page, done, skipped = _page(results, skipped, room, is_descending=is_descending)
        answer: dict[str, Any] = {"MetricDataResults": page, "Messages": []}
        if done < len(results) or not are_all:
            answer["NextToken"] = encode_token(place + done, skipped)
        return answer


def _page(
    results: Sequence[QueryResult], skipped: int, room: int, *, is_descending: bool
) -> tuple[list[dict[str, Any]], int, int]:
    """`room` points of the results, from the point `skipped` of the first one on.

    Beside them: how many results are done, and how many points of the next one.
    """
    page: list[dict[str, Any]] = []
    for done, result in enumerate(results):
        if room == 0:
            return page, done, 0
        points = list(result.series.points.items())
        if is_descending:
            points.reverse()
        shown = points[skipped : skipped + room]
        room -= len(shown)
        is_complete = skipped + len(shown) == len(points)
        page.append(_shaped(result, shown, is_complete=is_complete))
        if not is_complete:
            return page, done, skipped + len(shown)
        skipped = 0
    return page, len(results), 0


def _shaped(
    result: QueryResult, points: Sequence[tuple[int, float]], *, is_complete: bool
) -> dict[str, Any]:
    status = "Complete" if is_complete else "PartialData"
    shaped: dict[str, Any] = {
        "Id": result.query_id,
        "Label": result.label,
        "Timestamps": [float(timestamp_s) for timestamp_s, _ in points],
        "Values": [value for _, value in points],
        "StatusCode": "Forbidden" if result.is_forbidden else status,
    }
    if result.series.messages:
        shaped["Messages"] = [
            {"Code": code, "Value": text} for code, text in result.series.messages
        ]
    return shaped


def _place(token: str | None) -> tuple[int, int]:
    if not token:
        return 0, 0
    place, skipped = decode_token(token, int, int, invalid=_invalid_token)
    return place, skipped


def _invalid_token() -> AwsError:
    return validation_error("The value for parameter NextToken is invalid.")
