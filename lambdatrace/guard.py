"""The outer edge of the SDK: nothing that goes wrong inside reaches the function it observes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


PLACES_MAX = 100  # that report; a place may have a name of the user's in it


def write_warning(message: str) -> None:
    """One line on standard error, which Lambda puts into the function's log."""
    sys.stderr.write(f"[lambdatrace] {message}\n")


class Guard:
    """Runs the SDK's own steps; an exception is counted, reported once per place, and swallowed.

    `is_strict` lets everything through: tests build their guard so.
    """

    __slots__ = ("_reported", "_write", "failures", "is_strict")

    def __init__(
        self, *, is_strict: bool = False, write: Callable[[str], None] = write_warning
    ) -> None:
        self.is_strict = is_strict
        self.failures = 0
        self._reported: set[str] = set()
        self._write = write

    def run(
        self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs
    ) -> T | None:
        """What `function` returns; None if it failed."""
        try:
            return function(*arguments, **keywords)
        except Exception as error:  # noqa: BLE001 - this is what it is for
            self.take(getattr(function, "__qualname__", "?"), error)
            return None

    def take(self, place: str, error: Exception) -> None:
        """Swallow and report `error`, caught at `place`; a strict guard raises it."""
        if self.is_strict:
            raise error
        try:  # noqa: SIM105 - contextlib is not loaded on 3.10
            self.report(place, error)
        except Exception:  # noqa: BLE001, S110 - no stack left, at the end of a recursion
            pass

    def report(self, place: str, error: Any) -> None:
        """Count a failure; the first of a place is written out, since a log line costs money."""
        self.failures += 1
        if place not in self._reported and len(self._reported) < PLACES_MAX:
            self._reported.add(place)
            # The error's own text may fail, and standard error may be closed.
            try:
                kind = "" if isinstance(error, str) else type(error).__name__ + ": "
                self._write(f"{place}: {kind}{error} (said once)")
            except Exception:  # noqa: BLE001, S110 - there is nobody left to tell
                pass
