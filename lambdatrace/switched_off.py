"""The public names while OTEL_SDK_DISABLED or LAMBDATRACE_ENABLED switches all of it off.

They do nothing, and load nothing: not what reads settings, either. They also stand in where a layer
has nothing else for the Python that runs; only there `logger` is taken from here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def instrument(function: Any = None, **_: Any) -> Any:
    """`function` itself; without one, what gives each function back."""
    return instrument if function is None else function


def span(name: Any, **_: Any) -> Any:
    """A `with` block or decorator that does nothing; `@span` alone gives the function back."""
    return name if callable(name) else _SCOPE


def current_span() -> NoSpan:
    """The span whose methods do nothing."""
    return _NO_SPAN


def metric(*_arguments: Any, **_keywords: Any) -> None:
    """Record nothing."""


def messages(event: Any) -> Iterator[Any]:
    """The records of a batch."""
    records = event.get("Records") if isinstance(event, dict) else None
    yield from records if isinstance(records, list) else ()


def flush() -> bool:
    """True: nothing is waiting."""
    return True


def statistics() -> dict[str, Any]:
    """Nothing became of anything."""
    return {}


def logger(service: str | None = None, level: Any = None, *_: Any, **__: Any) -> PlainLogger:
    """A logger of `logging` in the place of the structured one, whose lines go on being written."""
    import logging

    inner = logging.getLogger(service)
    if level is not None:
        inner.setLevel(level)
    return PlainLogger(inner)


class PlainLogger:
    """What `StructuredLogger` is where it cannot be loaded: keys stand behind the message."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def log(self, level: int, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Write `msg`, and behind it the keywords that `logging` does not know."""
        known = ("exc_info", "stack_info", "stacklevel", "extra")
        keys = {key: value for key, value in keywords.items() if key not in known}
        options = {key: value for key, value in keywords.items() if key in known}
        if keys:
            msg, arguments = f"{msg} %s", (*arguments, keys)
        self._inner.log(level, msg, *arguments, **options)

    def debug(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at DEBUG."""
        self.log(10, msg, *arguments, **keywords)

    def info(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at INFO."""
        self.log(20, msg, *arguments, **keywords)

    def warning(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at WARNING."""
        self.log(30, msg, *arguments, **keywords)

    def error(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at ERROR."""
        self.log(40, msg, *arguments, **keywords)

    def exception(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at ERROR, with the exception that is being handled."""
        self.log(40, msg, *arguments, **{"exc_info": True, **keywords})

    def critical(self, msg: Any, *arguments: Any, **keywords: Any) -> None:
        """Log at CRITICAL."""
        self.log(50, msg, *arguments, **keywords)

    def append_keys(self, **_: Any) -> None:
        """Do nothing."""

    def append_context_keys(self, **_: Any) -> _Scope:
        """A `with` block that does nothing."""
        return _SCOPE

    def remove_keys(self, keys: Any) -> None:
        """Do nothing."""

    def clear_state(self) -> None:
        """Do nothing."""

    def get_current_keys(self) -> dict[str, Any]:
        """None are kept."""
        return {}

    def set_correlation_id(self, value: object) -> None:
        """Do nothing."""

    def get_correlation_id(self) -> Any:
        """None: none is kept."""
        return None

    structure_logs = thread_safe_append_keys = append_keys
    thread_safe_clear_keys = refresh_sample_rate_calculation = append_keys
    thread_safe_remove_keys = remove_keys
    thread_safe_get_current_keys = get_current_keys

    @property
    def service(self) -> Any:
        """The name of the logger."""
        return self._inner.name

    @property
    def log_level(self) -> Any:
        """The lowest level that is written; 0 where it is the parent's."""
        return self._inner.level

    def child(self, name: str) -> PlainLogger:
        """The logger of this name below this one."""
        return PlainLogger(self._inner.getChild(name))

    def inject_lambda_context(self, lambda_handler: Any = None, *_: Any, **__: Any) -> Any:
        """`lambda_handler` itself; without one, what gives each function back."""
        return self.inject_lambda_context if lambda_handler is None else lambda_handler


class NoSpan:
    """What `SpanHandle` is where there is no span."""

    __slots__ = ()
    trace_id, span_id = "0" * 32, "0" * 16
    is_recording = False

    def __repr__(self) -> str:
        return "<no span>"

    def set_attribute(self, key: str, value: Any) -> None:
        """Do nothing."""

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Do nothing."""

    def update_name(self, name: str) -> None:
        """Do nothing."""

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Do nothing."""

    def record_exception(self, error: BaseException) -> None:
        """Do nothing."""

    def set_error(self, message: str = "") -> None:
        """Do nothing."""

    def set_ok(self) -> None:
        """Do nothing."""

    def inject(self, carrier: dict[str, str] | None = None) -> dict[str, str]:
        """`carrier` as it is."""
        return {} if carrier is None else carrier


class _Scope:
    __slots__ = ()

    def __enter__(self) -> NoSpan:
        return _NO_SPAN

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, function: Any) -> Any:
        return function


_NO_SPAN, _SCOPE = NoSpan(), _Scope()
