"""Which messages of a batch a handler's answer reports as failed.

Lambda takes a batch as failed in whole when an identifier is missing, empty or of no message of
it, and as processed in whole when the list is missing or empty.
Sources: Lambda Developer Guide, "Implementing partial batch responses" of SQS, Kinesis, DynamoDB.
"""

from __future__ import annotations

from lambdatrace.records import ERROR, UNSET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lambdatrace.records import Span

COUNT = "aws.lambda.batch_item_failures"
ERROR_TYPE = "BatchItemFailure"
_MESSAGE = "reported in batchItemFailures"


def failed_items(response: Any, item_ids: Sequence[str]) -> list[str] | None:
    """Those of `item_ids` that failed; None when the answer reports no list of failures."""
    failures = response.get("batchItemFailures") if isinstance(response, dict) else None
    if failures is None:
        return None
    known, reported = set(item_ids), set()
    for failure in failures if isinstance(failures, list) else [None]:
        item_id = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(item_id, str) or not item_id or item_id not in known:
            return list(item_ids)
        reported.add(item_id)
    return [item_id for item_id in item_ids if item_id in reported]


def note_failures(
    failed: Sequence[str],
    item_ids: Sequence[str],
    root: Span,
    batch: Span | None,
    messages: Mapping[str, Span],
) -> None:
    """Count the failed ones on the spans of invocation and batch, and mark their own spans.

    The invocation succeeded; a batch of which nothing did has not.
    """
    root.set_attribute(COUNT, len(failed))
    if batch is not None:
        batch.set_attribute(COUNT, len(failed))
        if failed and len(failed) == len(item_ids):
            batch.set_attribute("error.type", ERROR_TYPE)
            batch.set_status(ERROR, _MESSAGE)
    for item_id in failed:
        if item_id in messages:
            _fail(messages[item_id])


def _fail(span: Span) -> None:
    """Give an ended span an error that is known only now, if it has no status of its own.

    Of use while it waits to be sent. Its attributes are replaced, as they may be being read.
    """
    if span.status_code == UNSET:
        span.attributes = {**span.attributes, "error.type": ERROR_TYPE}
        span.status_code, span.status_message = ERROR, _MESSAGE
