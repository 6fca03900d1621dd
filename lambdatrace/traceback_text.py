"""The text of a traceback, as `traceback` writes it, from what was kept of its exceptions.

`traceback` asks its frames and exceptions for a few attributes only; what has these stands for
them. So the text is that of the Python it runs on, with its marks under the source. Our own frames
are left out, as the runtime client leaves out its own.
"""

from __future__ import annotations

import sys
from traceback import StackSummary, TracebackException

from lambdatrace.runtime_client import without_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType
    from typing import Any

    from lambdatrace.exceptions import Place, Raised


def traceback_text(raised: Sequence[Raised]) -> str:
    """The text of a chain of exceptions, of which the first is the last that was raised."""
    following: Any = None
    is_cause = False
    for names, message, places, notes, is_cause_here in reversed(raised):
        module, name = names
        kind = type(name.rpartition(".")[2], (_Error,), {"__module__": module})
        kind.__qualname__ = name
        error = kind(message, _linked(_of_the_users(places)), notes)
        error.__suppress_context__ = is_cause
        error.__cause__ = following if is_cause else None
        error.__context__ = following
        following, is_cause = error, is_cause_here
    return "".join(
        TracebackException(
            type(following), following, following.__traceback__, compact=True
        ).format()
    )


def hide_our_frames(whole: TracebackException) -> None:
    """Take our frames out of `whole`, and of all that it was raised from, in and with."""
    waiting, seen = [whole], set()
    while waiting:
        one = waiting.pop()
        seen.add(id(one))
        frames = without_ours([(frame.filename, frame) for frame in one.stack])
        one.stack = StackSummary.from_list([frame for _, frame in frames])
        others = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        waiting += [each for each in others if each is not None and id(each) not in seen]


def _of_the_users(places: Sequence[Place]) -> list[Place]:
    return [place for _, place in without_ours([(place[0].co_filename, place) for place in places])]


class _Error:
    """What `traceback` asks an exception for."""

    def __init__(
        self, message: str | None, traceback: _Traceback | None, notes: list[str] | None
    ) -> None:
        self._message = message
        self.__traceback__ = traceback
        self.__notes__ = notes
        self.__cause__: _Error | None = None
        self.__context__: _Error | None = None
        self.__suppress_context__ = False

    def __str__(self) -> str:
        if self._message is None:
            raise ValueError("the exception gave none")
        return self._message


class _Traceback:
    """What `traceback` asks a traceback for, and its frame."""

    def __init__(self, place: Place, tb_next: _Traceback | None) -> None:
        code, line, instruction, module = place
        self.f_code: CodeType = code
        self.f_lineno = self.tb_lineno = line
        self.tb_lasti = instruction
        self.tb_next = tb_next
        # For the loader that has the source where there is no file.
        self.f_globals = getattr(sys.modules.get(module), "__dict__", {})
        self.f_locals: dict[str, Any] = {}
        self.tb_frame = self


def _linked(places: Sequence[Place]) -> _Traceback | None:
    first: _Traceback | None = None
    for place in reversed(places):
        first = _Traceback(place, first)
    return first
