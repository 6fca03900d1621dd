"""What is kept of an exception: the name of its type, its message and its stack trace."""

from __future__ import annotations

import builtins
from collections import deque

from lambdatrace.guard import let_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType
    from typing import Any

    # A frame's code, its line, where in the code, and the name of its module.
    Place = tuple[CodeType, int | None, int, Any]
    # One exception: module and name of its type; its message, None if it has none that can be had;
    # frames, outermost first; notes; whether the one before was raised from it.
    Raised = tuple[tuple[str, str], str | None, list[Place], list[str] | None, bool]

# Characters of an exception's message, and of its stack trace: of a chain, the last raised.
STACK_TEXT_MAX = 65_536
STACK_DEPTH_MAX = 64  # innermost frames of a stack trace; a recursion has a thousand
# What is written out whole at once, having more than a message; groups are of Python 3.11.
_WHOLE = (SyntaxError, getattr(builtins, "BaseExceptionGroup", SyntaxError))
_NOTES_MAX = 100
# Characters that one more exception of a chain, and one more of its frames, have at least.
_LINK_TEXT_MIN, _PLACE_TEXT_MIN = 70, 20


def qualified_name(kind: type) -> str:
    """The name OpenTelemetry gives an exception's type: builtins without their module."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """The text of an exception; of the runtime client's own, the message that it answers."""
    try:
        # A FaultException, whose `str` is all that it was made with.
        text = str(getattr(error, "msg", error) if hasattr(error, "exception_type") else error)
    except BaseException as failure:  # noqa: BLE001 - a user's __str__ may do anything
        let_through(failure)
        return "<unprintable>"
    return text if len(text) <= STACK_TEXT_MAX else text[: STACK_TEXT_MAX - 1] + "…"


class StackTrace:
    """The text of an exception's traceback, made when it is first asked for.

    That is after the response: a deep traceback takes milliseconds to write out. Until then it has
    the places and the message, of the exceptions it was raised in as well, and nothing that holds
    the frames: their locals live as long as without us. The spans that an exception passes share
    one text, with what it has reached by then.
    """

    __slots__ = ("_error_id", "_head", "_raised", "_text")

    def __init__(self, error: BaseException) -> None:
        self._text = ""
        # By its id, not itself; what else tells it from a later one at the same address is `_head`.
        self._error_id = id(error)
        self._head = (id(error.__traceback__), -1)
        try:
            self._raised: list[Raised] = _chain(error)
            traceback = error.__traceback__
            if traceback is not None:
                self._head = (id(traceback), traceback.tb_lasti)
            if not self._raised:
                self._text = _whole_text(error)
        except BaseException as failure:  # noqa: BLE001 - a user's exception may do anything
            let_through(failure)
            self._raised = []
            self._text = qualified_name(type(error)) + "\n"

    def reached_further(self, error: BaseException) -> bool:
        """Whether this is the trace of `error`, grown since by some frames, which it then has too.

        The frames it has grown by were added in front.
        """
        head = traceback = error.__traceback__
        if id(error) != self._error_id or not self._raised or head is None:
            return False
        added: list[Place] = []
        while traceback is not None and id(traceback) != self._head[0]:
            if len(added) == STACK_DEPTH_MAX:
                return False
            added.append(_place(traceback))
            traceback = traceback.tb_next
        if traceback is None or traceback.tb_lasti != self._head[1] or not added:
            return False
        kind, message, places, notes, is_cause = self._raised[0]
        kept = (added + places)[-STACK_DEPTH_MAX:]
        self._raised[0] = (kind, message, kept, notes, is_cause)
        self._head = (id(head), head.tb_lasti)
        return True

    def shorten(self) -> None:
        """Be the error alone from now on, where there is no time for more."""
        raised, self._raised = self._raised, []
        if raised:
            (module, name), message, *_ = raised[0]
            kind = name if module in ("builtins", "__main__") else f"{module}.{name}"
            self._text = _tail(f"{kind}: {message}\n" if message else f"{kind}\n")

    @property
    def written(self) -> str:
        """The text, as far as it has been made."""
        return self._text

    def __str__(self) -> str:
        raised, self._raised = self._raised, []
        if raised:
            from lambdatrace.traceback_text import traceback_text

            try:
                self._text = _tail(traceback_text(raised))
            except BaseException as failure:  # noqa: BLE001 - a source file may be anything
                let_through(failure)
                self._text = ".".join(raised[0][0]) + "\n"
        return self._text


def _chain(error: BaseException) -> list[Raised]:
    """What is kept of `error` and of those it was raised from or in, as far as the text reaches.

    Nothing if one of them has parts of its own to be written: a group, an error of syntax.
    """
    raised: list[Raised] = []
    seen: set[int] = set()
    size, following, is_cause = 0, error, False
    while size < STACK_TEXT_MAX:
        if isinstance(following, _WHOLE):
            return []
        seen.add(id(following))
        places: deque[Place] = deque(maxlen=STACK_DEPTH_MAX)
        traceback = following.__traceback__
        while traceback is not None:
            places.append(_place(traceback))
            traceback = traceback.tb_next
        try:
            message: str | None = str(following)[-STACK_TEXT_MAX:]
        except BaseException as failure:  # noqa: BLE001 - a user's __str__ may do anything
            let_through(failure)
            message = None
        kind = type(following)
        notes = getattr(following, "__notes__", None)
        noted = list(map(str, notes[:_NOTES_MAX])) if isinstance(notes, list) else None
        names = (str(kind.__module__), str(kind.__qualname__))
        raised.append((names, message, list(places), noted, is_cause))
        size += len(message or "") + _LINK_TEXT_MIN + _PLACE_TEXT_MIN * len(places)
        cause, context = following.__cause__, following.__context__
        if cause is not None and id(cause) not in seen:
            following, is_cause = cause, True
        elif context is not None and not following.__suppress_context__ and id(context) not in seen:
            following, is_cause = context, False
        else:
            break
    return raised


def _place(traceback: TracebackType) -> Place:
    frame = traceback.tb_frame
    name = frame.f_globals.get("__name__")
    return (frame.f_code, traceback.tb_lineno, traceback.tb_lasti, name)


def _whole_text(error: BaseException) -> str:
    import traceback  # loaded by the runtime client already

    from lambdatrace.traceback_text import hide_our_frames

    whole = traceback.TracebackException(
        type(error), error, error.__traceback__, limit=-STACK_DEPTH_MAX, compact=True
    )
    hide_our_frames(whole)
    return _tail("".join(whole.format()))


def _tail(text: str) -> str:
    return text if len(text) <= STACK_TEXT_MAX else "…\n" + text[2 - STACK_TEXT_MAX :]
