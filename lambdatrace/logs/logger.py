"""`lambdatrace.logger`: JSON lines with the facts of the invocation, on a real `logging.Logger`.

Its methods and keys are those that users of Powertools' Logger know; the differences are in the
README. What it adds to `logging.LoggerAdapter` are keys; levels, children, handlers, filters are
`logging`'s.
"""

from __future__ import annotations

import logging
import os
import sys
from binascii import crc32
from contextlib import contextmanager
from functools import partial, wraps

from lambdatrace import telemetry
from lambdatrace.errors import LambdatraceError
from lambdatrace.guard import let_through
from lambdatrace.handler import event_and_context
from lambdatrace.logs import correlation_paths
from lambdatrace.logs.json_lines import JsonLines, StandardOutput
from lambdatrace.logs.keys import Keys
from lambdatrace.logs.record_fields import CLASHING, RESERVED, STRUCTURED
from lambdatrace.span_scope import code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping
    from types import CodeType
    from typing import Any, TypeVar, overload

    from lambdatrace.redaction import Redaction

    F = TypeVar("F", bound=Callable[..., Any])
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

CORRELATION_ID = "correlation_id"

_COROUTINE = 0x80  # a code flag, as `inspect` names them (CO_COROUTINE); importing it costs 3 ms
_BYTES_PER_MB = 1024 * 1024
_HASH_COUNT = 1 << 32
_DECORATORS_MAX = 10
# Lambda's names of levels that `logging` calls otherwise.
_LAMBDA_LEVELS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}
# Of Powertools' Logger what there is no room for here, and would be a key on each line.
_NOT_HERE = frozenset(
    (
        *("buffer_config", "datefmt", "json_default", "json_deserializer", "json_serializer"),
        *("log_record_order", "log_uncaught_exceptions", "logger_formatter", "logger_handler"),
        *("serialize_stacktrace", "stream", "use_datetime_directive", "use_rfc3339", "utc"),
    )
)
# What a logging call takes besides the keys that its user gives.
_CALL_ARGUMENTS = frozenset(("exc_info", "stack_info", "stacklevel", "extra"))

_is_first_call = True  # of a handler, where no invocation of ours tells


def logger(
    service: str | None = None,
    level: str | int | None = None,
    child: bool = False,
    sampling_rate: float | None = None,
    *,
    sample_rate: float | None = None,
    **keys: Any,
) -> StructuredLogger:
    """The structured logger of `service`, by default the function's: one for each name.

    `level` is the lowest that is written, by default LAMBDATRACE_LOG_LEVEL; Lambda's own level of
    the function's logs, AWS_LAMBDA_LOG_LEVEL, is never gone below. In a share of `sampling_rate` of
    the invocations, 0 to 1, DEBUG is written too; `sample_rate` is the same. `child` gives the
    child of the service's logger that is called like the caller's file. `keys` are on each line;
    those of an existing logger stay. Of what cannot be used one line is said, and it is the
    default.
    """
    share = _checked(_share, sample_rate if sampling_rate is None else sampling_rate)
    for name in _NOT_HERE.intersection(keys):
        del keys[name]
        telemetry.current().guard.report(
            f"lambdatrace.logger has no argument {name}", 'see "Logs" in the README'
        )
    found = _logger(_checked(_name, service), _checked(_level, level), share, keys)
    if not child:
        return found
    file = sys._getframe(1).f_code.co_filename  # noqa: SLF001 - inspect costs 3 ms
    return found.child(os.path.basename(file).removesuffix(".py"))  # noqa: PTH119 - not pathlib


def _logger(
    service: str | None, level: int | None, share: float | None, keys: dict[str, Any]
) -> StructuredLogger:
    current = telemetry.current()
    settings = current.settings
    name = service or settings.service_name or current.function.name or "service_undefined"
    inner = logging.getLogger(name)
    handler = next((one for one in inner.handlers if isinstance(one, _Output)), None)
    if handler is not None:
        handler.keys.append(keys)
        if level is not None:
            handler.set_level(inner, level)
        return StructuredLogger(inner, handler)
    share = settings.debug_share if share is None else share
    if share:
        keys["sampling_rate"] = share
    handler = _Output(name, Keys(_invocation, keys), share)
    handler.set_level(inner, _level(settings.log_level) if level is None else level)
    inner.addHandler(handler)
    if share:
        inner.addFilter(handler.is_wanted)
    inner.propagate = False  # else the runtime's own handler would write each line again
    setattr(inner, STRUCTURED, True)
    return StructuredLogger(inner, handler)


class StructuredLogger(Adapter):
    """Logs to standard output in JSON; made by `lambdatrace.logger`.

    Keywords of a logging call that are not `logging`'s are keys of its line. `append_keys` inside
    an invocation is for that invocation, in its threads and tasks; outside of any, for good. What
    else a `logging.Logger` has, as `addFilter` and `handlers`, is that of the service's.
    """

    if TYPE_CHECKING:
        handlers: list[logging.Handler]
        filters: list[Any]
        addHandler: Callable[[logging.Handler], None]  # noqa: N815 - logging's names
        removeHandler: Callable[[logging.Handler], None]  # noqa: N815
        addFilter: Callable[[Any], None]  # noqa: N815
        removeFilter: Callable[[Any], None]  # noqa: N815

    def __init__(self, inner: logging.Logger, output: _Output) -> None:
        super().__init__(inner, {})
        self._output = output

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name == "logger":  # there is none yet
                raise AttributeError(name)
            return getattr(self.logger, name)

    @property
    def service(self) -> str:
        """What `service` is on each line."""
        return self._output.service

    @property
    def log_level(self) -> int:
        """The lowest level that is written, but for sampled DEBUG; 0 where it is the parent's."""
        return self._output.lowest if self._is_parent() else self.logger.level

    @property
    def registered_handler(self) -> logging.Handler:
        """The handler that writes the lines."""
        return self._output

    @property
    def registered_formatter(self) -> logging.Formatter:
        """What makes lines of records: for handlers of your own, too."""
        return self._output.lines

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """`logging.LoggerAdapter`'s: keywords of the user's become `extra`."""
        extra = kwargs.get("extra")
        keys = dict(extra) if isinstance(extra, dict) else {}
        keys.update({key: kwargs[key] for key in kwargs if key not in _CALL_ARGUMENTS})
        if not keys:
            return msg, kwargs
        options = {key: kwargs[key] for key in kwargs if key in _CALL_ARGUMENTS}
        if not RESERVED.isdisjoint(keys):
            # `logging` would raise for names that its records have themselves.
            clashing = {key: keys.pop(key) for key in RESERVED.intersection(keys)}
            keys[CLASHING] = clashing
        options["extra"] = keys
        return msg, options

    # As `logging.LoggerAdapter` has them, but within the guard, and with room for keys that are
    # called like its own parameters.

    def debug(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """Write a line of this level; what is no argument of `logging`'s is a key of it."""
        self._write(logging.DEBUG, msg, args, kwargs)

    def info(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """As `debug`."""
        self._write(logging.INFO, msg, args, kwargs)

    def warning(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """As `debug`."""
        self._write(logging.WARNING, msg, args, kwargs)

    def error(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """As `debug`."""
        self._write(logging.ERROR, msg, args, kwargs)

    def exception(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """An ERROR with the exception that is being handled."""
        self._write(logging.ERROR, msg, args, {"exc_info": True, **kwargs})

    def critical(self, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """As `debug`."""
        self._write(logging.CRITICAL, msg, args, kwargs)

    def log(self, level: int, msg: object, /, *args: object, **kwargs: Any) -> None:  # type: ignore[override]
        """As `debug`, with any level."""
        self._write(level, msg, args, kwargs)

    def _write(self, level: int, msg: Any, args: Any, kwargs: dict[str, Any]) -> None:
        try:
            if self.isEnabledFor(level):
                msg, options = self.process(msg, kwargs)
                # The caller is above this and the method that was called.
                options["stacklevel"] = options.get("stacklevel", 1) + 2
                self.logger.log(level, msg, *args, **options)
        except BaseException as error:  # noqa: BLE001 - the guard's own
            telemetry.current().guard.take("logger", error)

    def append_keys(self, /, **keys: Any) -> None:
        """Have `keys` on each line from now on."""
        self._output.keys.append(keys)

    def remove_keys(self, keys: Iterable[str]) -> None:
        """Have the keys of these names no more."""
        telemetry.current().guard.run(self._output.keys.remove, keys)

    def clear_state(self) -> None:
        """Have no keys but those that the logger was made with."""
        self._output.keys.clear()

    def get_current_keys(self) -> dict[str, Any]:
        """The keys as they are now."""
        return self._output.keys.current()

    def structure_logs(self, /, append: bool = False, **keys: Any) -> None:
        """Have `keys` on each line, in the place of those appended so far, or with `append` too."""
        if not append:
            self.clear_state()
        self.append_keys(**keys)

    def thread_safe_append_keys(self, /, **keys: Any) -> None:
        """Have `keys` on the lines of this thread or task alone, before all others."""
        self._output.keys.set_private({**self._output.keys.private(), **keys})

    def thread_safe_get_current_keys(self) -> dict[str, Any]:
        """The keys of this thread or task alone."""
        return dict(self._output.keys.private())

    def thread_safe_remove_keys(self, keys: Iterable[str]) -> None:
        """Have of those of this thread or task the keys of these names no more."""
        names = telemetry.current().guard.run(frozenset, keys) or ()
        left = self.thread_safe_get_current_keys()
        self._output.keys.set_private({key: left[key] for key in left if key not in names})

    def thread_safe_clear_keys(self) -> None:
        """Have no keys of this thread or task alone."""
        self._output.keys.set_private({})

    def refresh_sample_rate_calculation(self) -> None:
        """Nothing: whether an invocation writes DEBUG is found anew for each, by its request id."""

    @contextmanager
    def append_context_keys(self, /, **keys: Any) -> Iterator[None]:
        """Have `keys` on each line of the `with` block; after it, all is as before."""
        saved = self._output.keys.save()
        self.append_keys(**keys)
        try:
            yield
        finally:
            self._output.keys.restore(saved)

    def set_correlation_id(self, value: object) -> None:
        """Have `value` as `correlation_id`; with None, none."""
        self.append_keys(**{CORRELATION_ID: value})

    def get_correlation_id(self) -> Any:
        """The `correlation_id`, None if there is none."""
        return self.get_current_keys().get(CORRELATION_ID)

    def child(self, name: str) -> StructuredLogger:
        """A logger with a level and filters of its own, and keys and output of this one."""
        inner = telemetry.current().guard.run(self.logger.getChild, name)
        return StructuredLogger(self.logger if inner is None else inner, self._output)

    def setLevel(self, level: int | str) -> None:  # noqa: N802 - logging's name
        """Write records of `level` and above; of one that is none one line is said."""
        number = _checked(_level, level)
        if number is None:
            return
        if self._is_parent():
            self._output.set_level(self.logger, number)
        else:
            self.logger.setLevel(number)

    def _is_parent(self) -> bool:
        return self._output in self.logger.handlers

    if TYPE_CHECKING:

        @overload
        def inject_lambda_context(
            self,
            lambda_handler: F,
            log_event: bool | None = ...,
            correlation_id_path: str | None = ...,
            clear_state: bool | None = ...,
        ) -> F: ...

        @overload
        def inject_lambda_context(
            self,
            lambda_handler: None = ...,
            log_event: bool | None = ...,
            correlation_id_path: str | None = ...,
            clear_state: bool | None = ...,
        ) -> Callable[[F], F]: ...

    def inject_lambda_context(
        self,
        lambda_handler: Any = None,
        log_event: bool | None = None,
        correlation_id_path: str | None = None,
        clear_state: bool | None = False,
    ) -> Any:
        """`lambda_handler`, whose invocations have a correlation id and the function's facts.

        The facts are on the lines of an instrumented handler without this. `correlation_id_path` is
        one of `lambdatrace.logs.correlation_paths` or like one; `log_event` writes the event,
        redacted.
        """
        options: dict[str, Any] = {
            "correlation_id_path": correlation_id_path,
            "log_event": log_event,
            "clear_state": clear_state,
        }
        function = lambda_handler
        if function is None:
            return partial(self.inject_lambda_context, **options)

        code = code_of(function)
        innermost = telemetry.current().guard.run(_innermost_code, function) or code

        def begin(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            event, context = event_and_context(code, arguments, keywords)
            telemetry.current().guard.run(self._begin, innermost, event, context, **options)

        around: Any
        if getattr(code, "co_flags", 0) & _COROUTINE:

            @wraps(function)
            async def around(*arguments: Any, **keywords: Any) -> Any:
                begin(arguments, keywords)
                return await function(*arguments, **keywords)

        else:

            @wraps(function)
            def around(*arguments: Any, **keywords: Any) -> Any:
                begin(arguments, keywords)
                return function(*arguments, **keywords)

        return around

    def _begin(
        self,
        code: CodeType | None,
        event: Any,
        context: Any,
        *,
        correlation_id_path: str | None,
        log_event: bool | None,
        clear_state: bool | None,
    ) -> None:
        if clear_state:
            self.clear_state()
        if _invocation() is None:
            self.append_keys(**_facts_of(context))
        if correlation_id_path:
            self.set_correlation_id(correlation_paths.look_up(correlation_id_path, event))
        if telemetry.current().settings.logs_event if log_event is None else log_event:
            self._log_event(code, event)

    def _log_event(self, code: CodeType | None, event: Any) -> None:
        """Write `event`, at the place of the handler, whose `code` it is about to run."""
        if self.isEnabledFor(logging.INFO):
            file, line, name = (
                (code.co_filename, code.co_firstlineno, code.co_name) if code else ("", 0, "")
            )
            inner = self.logger
            inner.handle(
                inner.makeRecord(inner.name, logging.INFO, file, line, event, (), None, name)
            )


class _Output(StandardOutput):
    """The handler of a structured logger and its children: what is written, with which keys."""

    def __init__(self, service: str, keys: Keys, debug_share: float) -> None:
        super().__init__()
        self.keys = keys
        self.service = service
        self._debug_share = debug_share
        self.lowest = logging.INFO
        self.lines = JsonLines(service, _facts, keys.current, _redaction)
        self.setFormatter(self.lines)

    def set_level(self, inner: logging.Logger, level: int) -> None:
        """Write records of `level` and above; those of DEBUG in some invocations, if so asked."""
        floor = _lambda_level()
        self.lowest = max(level, floor)
        inner.setLevel(max(logging.DEBUG, floor) if self._debug_share else self.lowest)

    def is_wanted(self, record: logging.LogRecord) -> bool:
        """Whether `record` is to be written, where the loggers let DEBUG through to here."""
        return record.levelno >= self.lowest or self._is_debugged()

    def filter(self, record: logging.LogRecord) -> Any:
        """As `logging.Handler` filters; of the children's records too."""
        return False if self._debug_share and not self.is_wanted(record) else super().filter(record)

    def _is_debugged(self) -> bool:
        """Whether the invocation under way is of those that write DEBUG.

        Its request id tells, so that all its threads and loggers agree.
        """
        request_id = telemetry.current().request_id
        return crc32(request_id.encode()) / _HASH_COUNT < self._debug_share


def _checked(check: Callable[[Any], Any], value: Any) -> Any:
    """What `check` makes of `value`; None for None, and for what is none, which is said."""
    if value is None:
        return None
    try:
        return check(value)
    except BaseException as error:
        guard = telemetry.current().guard
        if guard.is_strict:
            raise
        let_through(error)
        guard.report("lambdatrace.logger", error, once_per=str(error))
        return None


def _innermost_code(function: Any) -> Any:
    """The code of the function that decorators stand around."""
    for _ in range(_DECORATORS_MAX):
        function = getattr(function, "__wrapped__", function)
    return code_of(function)


def _name(service: Any) -> str:
    if not isinstance(service, str):
        raise LambdatraceError(f"service is {type(service).__name__}: expected str")
    return str(service)


def _share(sample_rate: Any) -> float:
    try:
        share = float(sample_rate)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise LambdatraceError(f"sampling_rate is {sample_rate!r}: expected a number from 0 to 1")
    return share


def _level(level: str | int) -> int:
    if isinstance(level, int):
        return level
    number = logging.getLevelName(_LAMBDA_LEVELS.get(level.upper(), level.upper()))
    if not isinstance(number, int):
        raise LambdatraceError(
            f"level is {level!r}: expected DEBUG, INFO, WARNING, ERROR, CRITICAL"
        )
    return number


def _lambda_level() -> int:
    """The level below which Lambda itself drops lines; 0 where it does not."""
    name = telemetry.current().function.log_level.upper()
    number = logging.getLevelName(_LAMBDA_LEVELS.get(name, name))
    return number if isinstance(number, int) else 0


def _invocation() -> object | None:
    """What stands for the invocation under way in this thread or task."""
    spans = telemetry.current().tracer.spans()
    return spans if spans.invocation is not None else None


def _redaction() -> Redaction | None:
    return telemetry.current().redaction


def _facts() -> dict[str, Any]:
    """The facts of the invocation under way, by Powertools' names."""
    current = telemetry.current()
    facts: dict[str, Any] = {}
    running = current.running
    if running is not None:
        invocation, function = running.facts, current.function
        facts = {
            "cold_start": invocation.is_cold_start,
            "function_name": function.name,
            "function_memory_size": str(function.memory_bytes // _BYTES_PER_MB),
            "function_arn": invocation.arn or None,
            "function_request_id": invocation.request_id or None,
        }
    if not current.function.is_multi_concurrent:
        header = os.environ.get("_X_AMZN_TRACE_ID", "")  # the runtime client's, for each invocation
        facts["xray_trace_id"] = header.partition(";")[0].replace("Root=", "") or None
    return facts


def _facts_of(context: Any) -> dict[str, Any]:
    """The facts that a context has, where no instrumented handler tells them."""
    global _is_first_call
    is_cold, _is_first_call = _is_first_call, False
    return {
        "cold_start": is_cold,
        "function_name": getattr(context, "function_name", None),
        "function_memory_size": getattr(context, "memory_limit_in_mb", None),
        "function_arn": getattr(context, "invoked_function_arn", None),
        "function_request_id": getattr(context, "aws_request_id", None),
    }
