from __future__ import annotations

from typing import Any, cast

import pytest

from lambdatrace.sinks import Outcome
from lambdatrace.sinks.redacting import RedactingSink
from lambdatrace.testing import MemorySink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdatrace.redaction import Redaction


class Refusing:
    """A redaction that fails for what is called `bad`."""

    def record(self, record: Any) -> Any:
        if record == "bad":
            raise ValueError(record)
        return record


@pytest.mark.parametrize(
    ("unsent", "unencodable", "left"),
    [(0, 2, []), (1, 2, ["d"]), (2, 1, ["c", "bad", "d"]), (3, 0, ["a", "bad", "c", "bad", "d"])],
)
def test_the_unsent_are_the_same_records_whatever_could_not_be_redacted(
    unsent: int, unencodable: int, left: list[str]
) -> None:
    records: list[Any] = ["a", "bad", "c", "bad", "d"]
    inner = MemorySink([Outcome(is_accepted=not unsent, unsent=unsent)])
    sink = RedactingSink(inner, cast("Redaction", Refusing()), lambda _place, _error: None)
    outcome = sink.send(records, 1, lambda: None)
    assert records[len(records) - outcome.unsent :] == left
    assert outcome.unencodable == unencodable
