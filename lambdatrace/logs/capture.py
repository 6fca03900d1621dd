"""Records of `logging` → LogRecords for OTLP, made in the logging call and written out later.

The message is put together after the response where its arguments cannot change until then, and at
once where they can; what the runtime's own handler has put together is taken as it is.
Source: OpenTelemetry, "Logs Data Model" and its appendix on severities, semantic conventions
"Code" and "Exceptions on logs".
"""

from __future__ import annotations

import logging

from lambdatrace import records
from lambdatrace.exceptions import qualified_name
from lambdatrace.guard import let_through
from lambdatrace.journal_logs import keep
from lambdatrace.log_record import LogRecord
from lambdatrace.logs.record_fields import STRUCTURED, user_fields
from lambdatrace.plain import CUT, plain_copy, text_of
from lambdatrace.records import Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lambdatrace.telemetry import Telemetry

TEXT_LENGTH_MAX = 64 * 1024
SCOPES_MAX = 256  # loggers named after a request must not fill the memory

_TRACE, _DEBUG, _FATAL = 1, 5, 21
_LEVELS_PER_RANGE, _NUMBERS_PER_RANGE = 10, 4
_UNCHANGING = frozenset((str, int, float, bool, type(None), bytes))


class LogCapture:
    """Keeps what loggers handle, from the level of the settings on, as a handler of the root would.

    So a logger that does not propagate to the root is left out; the structured logger is not.
    """

    __slots__ = ("_level", "_scopes", "_telemetry")

    def __init__(self, current: Telemetry) -> None:
        self._telemetry = current
        self._level: int = getattr(logging, current.settings.captured_log_level)
        self._scopes: dict[str, Scope] = {}

    def take(
        self, logger: logging.Logger, record: logging.LogRecord, level: int, level_name: str
    ) -> None:
        """Record what the handlers have had; they may have changed its level, which was `level`."""
        if level < self._level or not _is_ours(logger):
            return
        fields = vars(record)
        current = self._telemetry
        span = current.tracer.current_span()
        captured = LogRecord(
            _body(record, fields),
            current.clock.time_ns(),
            time_ns=int(record.created * 1_000_000) * 1000,
            severity_number=severity_number(level),
            severity_text=level_name,
            context=span.context if span is not None else None,
            scope=self._scope(record.name),
        )
        self._describe(captured, record, fields)
        keep(current, captured)

    def _describe(
        self, captured: LogRecord, record: logging.LogRecord, fields: dict[str, Any]
    ) -> None:
        attributes = captured.attributes
        attributes["code.file.path"] = record.pathname
        attributes["code.function.name"] = record.funcName
        attributes["code.line.number"] = record.lineno
        spans = self._telemetry.tracer.spans()
        if spans.request_id:
            attributes["faas.invocation_id"] = spans.request_id
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            attributes["exception.type"] = qualified_name(type(error))
            attributes["exception.message"] = text_of(error)
            attributes["exception.stacktrace"] = spans.stack_trace(error)
        if record.stack_info:
            attributes["code.stacktrace"] = record.stack_info
        for key, value in user_fields(fields).items():
            if len(attributes) >= records.LOG_ATTRIBUTE_COUNT_MAX:
                captured.dropped_attributes += 1
            else:
                is_safe = type(value) in _UNCHANGING
                attributes[key] = value if is_safe else plain_copy(value, TEXT_LENGTH_MAX, text_of)

    def _scope(self, name: str) -> Scope:
        scope = self._scopes.get(name)
        if scope is None:
            scope = Scope(name)
            if len(self._scopes) < SCOPES_MAX:
                self._scopes[name] = scope
        return scope


class LateMessage:
    """A message and its arguments, put together when it is first written out."""

    __slots__ = ("_arguments", "_text")

    def __init__(self, message: str, arguments: tuple[Any, ...]) -> None:
        self._text = message
        self._arguments: tuple[Any, ...] | None = arguments

    def __str__(self) -> str:
        arguments, self._arguments = self._arguments, None
        if arguments is not None:
            self._text = _formatted(self._text, arguments)
        return self._text


def severity_number(level: int) -> int:
    """OpenTelemetry's severity of a level of `logging`: 20, INFO, is 9; 0 for no level at all.

    Levels between two of the named ones are the finer steps that a range has.
    """
    if level <= 0:
        return 0
    if level < logging.DEBUG:
        return _TRACE
    if level >= logging.CRITICAL:
        return _FATAL + min(level - logging.CRITICAL, _NUMBERS_PER_RANGE - 1)
    of_range, step = divmod(level - logging.DEBUG, _LEVELS_PER_RANGE)
    return _DEBUG + of_range * _NUMBERS_PER_RANGE + min(step, _NUMBERS_PER_RANGE - 1)


def _is_ours(logger: logging.Logger) -> bool:
    """Whether a handler of the root would get what `logger` handles, or it is a structured one."""
    above: logging.Logger | None = logger
    while above is not None:
        if not above.propagate:
            return hasattr(above, STRUCTURED)
        above = above.parent
    return True


def _body(record: logging.LogRecord, fields: dict[str, Any]) -> Any:
    message, arguments = record.msg, record.args
    if not arguments:
        if type(message) is str:
            return _bounded(message)
        return plain_copy(message, TEXT_LENGTH_MAX, text_of)
    formatted = fields.get("message")  # by a handler that has just written it
    if type(formatted) is str:
        return _bounded(formatted)
    if (
        type(message) is str
        and type(arguments) is tuple
        and _UNCHANGING.issuperset(map(type, arguments))
    ):
        return LateMessage(message, arguments)
    return _formatted(message, arguments)


def _formatted(message: Any, arguments: Any) -> str:
    """As `LogRecord.getMessage`; where that fails, as `logging` reports it, both one by one."""
    try:
        return _bounded(str(message) % arguments)
    except BaseException as failure:  # noqa: BLE001 - the arguments may not fit, and are the user's
        let_through(failure)
        return _bounded(f"{text_of(message)} {text_of(arguments)}")


def _bounded(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + CUT
