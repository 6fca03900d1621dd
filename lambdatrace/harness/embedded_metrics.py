"""CloudWatch's embedded metric format, read back from what a function has logged.

Source: CloudWatch user guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class EmbeddedMetric:
    """One metric of one document: its values, and each of the dimension sets they count for.

    `properties` is the whole document without `_aws`.
    """

    namespace: str
    name: str
    unit: str
    values: tuple[float, ...]
    dimensions: tuple[dict[str, str], ...]
    timestamp_ms: int
    properties: dict[str, Any]

    @property
    def value(self) -> float:
        """The one value; ValueError if there are more."""
        [value] = self.values
        return value


def read_metrics(messages: Iterable[str]) -> list[EmbeddedMetric]:
    """The metrics in `messages`, which may hold anything else as well."""
    return [metric for message in messages for metric in _of_message(message)]


def _of_message(message: str) -> Iterator[EmbeddedMetric]:
    if '"_aws"' not in message:
        return
    try:
        document = json.loads(message)
        metadata = document.pop("_aws")
        directives = metadata["CloudWatchMetrics"]
        timestamp_ms = int(metadata["Timestamp"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # CloudWatch, too, takes it for a plain log event
    for directive in directives:
        sets = tuple(
            {key: str(document[key]) for key in keys if key in document}
            for keys in directive.get("Dimensions", [[]])
        )
        for definition in directive.get("Metrics", []):
            value = document.get(definition["Name"])
            if value is None:
                continue
            yield EmbeddedMetric(
                directive["Namespace"],
                definition["Name"],
                definition.get("Unit", "None"),
                tuple(value) if isinstance(value, list) else (value,),
                sets,
                timestamp_ms,
                document,
            )
