"""The step each record passes on its way to any sink: secrets are replaced, after the response."""

from __future__ import annotations

from lambdatrace.sinks import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lambdatrace.redaction import Redaction
    from lambdatrace.sinks import Sink


class RedactingSink:
    """Gives `sink` what `redaction` leaves of the records.

    A record that cannot be searched does not leave; `on_error` is told.
    """

    def __init__(
        self, sink: Sink, redaction: Redaction, on_error: Callable[[str, BaseException], None]
    ) -> None:
        self._sink = sink
        self._redaction = redaction
        self._on_error = on_error

    def send(self, records: list[Any], timeout_s: float, meanwhile: Callable[[], None]) -> Outcome:
        """As `sink` sends. Raises what that raises."""
        redacted, places = [], []
        for place, record in enumerate(records):
            try:
                redacted.append(self._redaction.record(record))
                places.append(place)
            except Exception as error:  # noqa: BLE001 - one record's odd values, not the batch's
                self._on_error("a record cannot be redacted", error)
        lost = len(records) - len(redacted)
        if not redacted:
            return Outcome(is_accepted=True, unencodable=lost)
        outcome = self._sink.send(redacted, timeout_s, meanwhile)
        if outcome.unsent:
            # Of those that cannot be searched, the ones behind the first unsent come again with it.
            first = places[-outcome.unsent]
            lost = first - (len(redacted) - outcome.unsent)
            outcome.unsent = len(records) - first
        outcome.unencodable += lost
        return outcome

    def close(self) -> None:
        """Close the connection of `sink`, if it has one."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()
