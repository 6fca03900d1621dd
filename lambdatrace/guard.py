"""The outer edge of the SDK: nothing that goes wrong inside reaches the function it observes."""

from __future__ import annotations

import sys

from lambdatrace.errors import LambdatraceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


PLACES_MAX = 100  # that report; a place may have a name of the user's in it


def write_warning(message: str) -> None:
    """One line on standard error, which Lambda puts into the function's log."""
    sys.stderr.write(f"[lambdatrace] {message}\n")


_OWN = write_warning.__code__.co_filename.rpartition("guard")[0]
_CAUSES_MAX = 10
_ENDINGS = (KeyboardInterrupt, SystemExit)


def interruption(error: BaseException) -> BaseException | None:
    """What a signal handler raised while our code ran, if that is `error` or made us raise it.

    A timeout of the user's for one: it is meant for the code that we are called from. Python calls
    the handler with the frame that it interrupts, which tells it from all else that raises below
    our frames, a value's `__str__` for one. A handler that is no Python function has no frame: what
    it raised, to end the process, seems to have been raised by the line of ours that it interrupts.
    """
    found: BaseException | None = error
    for _ in range(_CAUSES_MAX):
        if found is None:
            break
        traceback = found.__traceback__
        # A cause that we have not caught is one that the user's code was handling before.
        if found is not error and not _is_ours(traceback):
            break
        while traceback is not None and traceback.tb_next is not None:
            frame, traceback = traceback.tb_frame, traceback.tb_next
            code, values = traceback.tb_frame.f_code, traceback.tb_frame.f_locals
            for name in code.co_varnames:
                value = values.get(name)
                # By identity: what compares may be a value of the user's.
                if value is frame or (type(value) is tuple and value[-1:] and value[-1] is frame):
                    return found
        # None of our own lines raises these.
        if isinstance(found, _ENDINGS) and _is_ours(traceback):
            return found
        found = found.__cause__ or found.__context__
    return None


def _is_ours(traceback: TracebackType | None) -> bool:
    return traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(_OWN)


def let_through(error: BaseException) -> None:
    """Raise what a signal handler of the user's raised; do nothing if `error` is of another kind.

    For wherever an odd value is caught: it may raise anything, `SystemExit` as well, and ends
    neither an answer nor the process.
    """
    interrupted_by = interruption(error)
    if interrupted_by is not None:
        raise interrupted_by


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
        except BaseException as error:  # noqa: BLE001 - this is what it is for
            self.take(getattr(function, "__qualname__", "?"), error)
            return None

    def take(self, place: str, error: BaseException) -> None:
        """Swallow and report `error`, caught at `place`; a strict guard raises it.

        What a signal handler of the user's raised while our code ran goes on: see `interruption`.
        """
        if self.is_strict:
            raise error
        let_through(error)
        try:  # noqa: SIM105 - contextlib is not loaded on 3.10
            self.report(place, error)
        except RecursionError:
            pass  # no stack left to say it with

    def report(self, place: str, error: Any, once_per: str = "") -> None:
        """Count a failure; the first of a place is written out, since a log line costs money.

        `once_per` stands for the place in telling the first, where it can fail in several ways.
        """
        self.failures += 1
        key = once_per or place
        if key not in self._reported and len(self._reported) < PLACES_MAX:
            self._reported.add(key)
            # The error's own text may fail, and standard error may be closed.
            try:
                # Our own errors say all there is to say; of others the type may be all.
                is_plain = isinstance(error, (str, LambdatraceError))
                kind = "" if is_plain else type(error).__name__ + ": "
                self._write(f"{place}: {kind}{error} (said once)")
            except BaseException as failure:  # noqa: BLE001 - there is nobody left to tell
                let_through(failure)
