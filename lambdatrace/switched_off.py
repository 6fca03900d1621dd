"""The public names while OTEL_SDK_DISABLED or LAMBDATRACE_ENABLED switches all of it off.

They do nothing, and load nothing: not what reads settings, either.
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


class NoSpan:
    """What `SpanHandle` is where there is no span."""

    __slots__ = ()
    trace_id, span_id = "0" * 32, "0" * 16
    is_recording = False

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
