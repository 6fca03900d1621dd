"""A record of a structured logger → one line of JSON, and the handler that writes it.

Key names are Powertools'. The timestamp is RFC 3339, which Lambda needs to tell a line's level.
Source: Lambda Developer Guide, "Log formats": `timestamp` and `level` of JSON logs.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

from lambdatrace.guard import let_through
from lambdatrace.logs.record_fields import user_fields
from lambdatrace.plain import plain_copy, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.redaction import Redaction

LINE_BYTES_MAX = 250_000  # about; CloudWatch cuts an event at 256 kB and more
STACK_DEPTH_MAX = 64  # innermost frames; a recursion has a thousand
# What a call's keywords do not replace, as with Powertools: by these Lambda tells a line's level.
_OF_THE_RECORD = frozenset(("level", "location", "timestamp"))
_IDS = ("trace_id", "span_id", "trace_flags")


class JsonLines(logging.Formatter):
    """Formats records; `service`, and of each call `facts` and `keys`, are on every line.

    Never raises because of a value: what JSON has no type for becomes its `str`.
    """

    def __init__(
        self,
        service: str,
        facts: Callable[[], Mapping[str, Any]],
        keys: Callable[[], Mapping[str, Any]],
        redaction: Callable[[], Redaction | None],
    ) -> None:
        super().__init__()
        self._service = service
        self._facts = facts
        self._keys = keys
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        fields = vars(record)
        extra = user_fields(fields)
        for name in _OF_THE_RECORD.intersection(extra):
            del extra[name]
        given = {"message": _message(record), **self._keys(), **extra}
        copied = plain_copy({**given, **_exception(record)}, LINE_BYTES_MAX, text_of)
        redaction = self._redaction()
        if redaction is not None:
            copied = redaction.mapping(copied)
        document = {
            "level": record.levelname,
            "location": f"{record.funcName}:{record.lineno}" if record.funcName else None,
            "message": None,
            "timestamp": timestamp(record.created),
            "service": self._service,
            **self._facts(),
            **{name: fields.get(name) for name in _IDS},
            **copied,
        }
        document = {key: value for key, value in document.items() if value is not None}
        line = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        # A lone surrogate cannot be written.
        return line if line.isascii() else line.encode("utf-8", "backslashreplace").decode()


class StandardOutput(logging.Handler):
    """Writes each record as one line to standard output as it is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`; a failure is reported the way `logging` does."""
        try:
            # One write, so that the lines of two threads do not mix.
            sys.stdout.write(self.format(record) + "\n")
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - standard output may be closed, for one
            let_through(error)
            self.handleError(record)


def timestamp(created: float) -> str:
    """Unix time in seconds as RFC 3339, in UTC with milliseconds."""
    seconds, milliseconds = divmod(int(created * 1000), 1000)
    day_and_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{day_and_time}.{milliseconds:03d}+00:00"


def _message(record: logging.LogRecord) -> Any:
    if not record.args:
        return record.msg
    try:
        return record.getMessage()
    except BaseException as failure:  # noqa: BLE001 - the arguments may not fit, and are the user's
        let_through(failure)
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _exception(record: logging.LogRecord) -> dict[str, Any]:
    """The keys of an exception, as Powertools has them."""
    if not isinstance(record.exc_info, tuple) or record.exc_info[1] is None:
        return {}
    kind, error, trace = record.exc_info
    frames = traceback.extract_tb(trace, limit=-STACK_DEPTH_MAX)
    lines = traceback.format_exception(kind, error, trace, limit=-STACK_DEPTH_MAX)
    return {
        "exception": "".join(lines).rstrip("\n"),
        "exception_name": kind.__name__,
        "exception_notes": getattr(error, "__notes__", None),
        "stack_trace": {
            "type": kind.__name__,
            "value": text_of(error),
            "module": type(error).__module__,
            "frames": [
                {
                    "file": frame.filename,
                    "line": frame.lineno,
                    "function": frame.name,
                    "statement": frame.line,
                }
                for frame in frames
            ],
        },
    }
