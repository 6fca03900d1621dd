"""The door before `opentelemetry.metrics`: our instruments behind the API's own proxy instruments.

As long as no provider is set, the API gives meters and instruments that do nothing until one is.
Ours stand behind them until then: what a provider that is set later gives takes their place.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import wraps

from opentelemetry import metrics
from opentelemetry.metrics import _internal as internal

from lambdatrace import telemetry
from lambdatrace.otel.global_providers import watch
from lambdatrace.otel.spans import OtelSpan, from_otel
from lambdatrace.otel.traces import read_scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

    from opentelemetry.context import Context

    from lambdatrace.instruments import Instrument
    from lambdatrace.records import SpanContext
    from lambdatrace.telemetry import Telemetry

_MARK = "__lambdatrace_door__"
CALLBACK_MS_MAX = 1000  # what a callback is told that it may take


def attach(_module: ModuleType) -> None:
    """Stand behind the proxy meters and instruments, those that are and those to come; once."""
    meter: Any = internal._ProxyMeter
    provider: Any = internal._ProxyMeterProvider
    if _MARK in meter.__dict__:
        return
    setattr(meter, _MARK, True)
    for name in (
        "create_counter",
        "create_up_down_counter",
        "create_histogram",
        "create_gauge",
        "create_observable_counter",
        "create_observable_up_down_counter",
        "create_observable_gauge",
    ):
        setattr(meter, name, _backed(getattr(meter, name)))
    provider.get_meter = _with_attributes(provider.get_meter)
    back_existing()
    watch(internal, "_set_meter_provider", "_METER_PROVIDER")


def back_existing() -> None:
    """Put instruments of ours behind those that were made when nobody stood behind the API."""
    for meter in internal._PROXY_METER_PROVIDER._meters:
        for instrument in meter._instruments:
            _back(meter, instrument)


def _backed(create: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(create)
    def create_backed(meter: Any, *arguments: Any, **keywords: Any) -> Any:
        instrument = create(meter, *arguments, **keywords)
        if meter._real_meter is None:
            telemetry.current().guard.run(_back, meter, instrument)
        return instrument

    return create_backed


def _back(meter: Any, proxy: Any) -> None:
    """Put an instrument of ours behind `proxy`."""
    proxy.on_meter_set(OwnMeter(meter))
    if isinstance(proxy._real_instrument, OwnObservable):
        proxy._real_instrument.observe(proxy)


def _with_attributes(get_meter: Callable[..., Any]) -> Callable[..., Any]:
    """The API's proxy meters do not keep the scope's attributes: these do."""

    @wraps(get_meter)
    def get_with_attributes(
        provider: Any,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Any:
        meter = get_meter(provider, name, version, schema_url, attributes)
        if attributes and isinstance(meter, internal._ProxyMeter):
            vars(meter)["_attributes"] = attributes
        return meter

    return get_with_attributes


class OwnMeter(metrics.Meter):
    """Makes the instruments that stand behind those of `proxy`."""

    def __init__(self, proxy: Any) -> None:
        super().__init__(proxy.name, proxy.version, proxy.schema_url)
        self._scope = read_scope(
            proxy.name, proxy.version, proxy.schema_url, getattr(proxy, "_attributes", None)
        )

    def create_counter(self, name: str, unit: str = "", description: str = "") -> OwnCounter:
        """A counter."""
        return OwnCounter("counter", name, unit, description, self._scope)

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> OwnUpDownCounter:
        """An up-down counter."""
        return OwnUpDownCounter("up_down_counter", name, unit, description, self._scope)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> OwnHistogram:
        """A histogram."""
        advisory = explicit_bucket_boundaries_advisory
        return OwnHistogram("histogram", name, unit, description, self._scope, advisory)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> OwnGauge:
        """A gauge."""
        return OwnGauge("gauge", name, unit, description, self._scope)

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> OwnObservableCounter:
        """A counter that is asked at each collection."""
        return OwnObservableCounter(
            "observable_counter", name, unit, description, self._scope, callbacks
        )

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> OwnObservableUpDownCounter:
        """An up-down counter that is asked at each collection."""
        return OwnObservableUpDownCounter(
            "observable_up_down_counter", name, unit, description, self._scope, callbacks
        )

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> OwnObservableGauge:
        """A gauge that is asked at each collection."""
        return OwnObservableGauge(
            "observable_gauge", name, unit, description, self._scope, callbacks
        )


class OwnInstrument:
    """An instrument of ours, found in this process's telemetry at its first measurement."""

    def __init__(self, *definition: Any) -> None:
        self._definition = definition
        self._telemetry: Telemetry | None = None
        self._instrument: Any = None

    def measure(
        self, value: float, attributes: Mapping[str, Any] | None, context: Context | None
    ) -> None:
        """Take in one measurement."""
        current = telemetry.installed()
        if current is not None and current.is_active:
            current.guard.run(self._measure, current, value, attributes, context)

    def _measure(
        self,
        current: Telemetry,
        value: float,
        attributes: Mapping[str, Any] | None,
        context: Context | None,
    ) -> None:
        self.found(current).record(value, attributes, _span_context(current, context))

    def found(self, current: Telemetry) -> Instrument:
        """The instrument in `current`."""
        if self._telemetry is not current:
            self._instrument = current.instruments.instrument(*self._definition)
            self._telemetry = current
        instrument: Instrument = self._instrument
        return instrument


def _span_context(current: Telemetry, context: Context | None) -> SpanContext | None:
    """The span that a measurement is made in; embedded metrics have no exemplars to tell it in."""
    if current.settings.metrics_exporter != "otlp":
        return None
    if context is not None:
        from opentelemetry.trace import get_current_span

        span = get_current_span(context)
        return span.record.context if type(span) is OtelSpan else from_otel(span.get_span_context())
    own = current.tracer.current_span()
    return own.context if own is not None else None


class OwnCounter(OwnInstrument, metrics.Counter):
    """A counter."""

    def add(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Add `amount`, which is not negative."""
        self.measure(amount, attributes, context)


class OwnUpDownCounter(OwnInstrument, metrics.UpDownCounter):
    """An up-down counter."""

    def add(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Add `amount`, which may be negative."""
        self.measure(amount, attributes, context)


class OwnHistogram(OwnInstrument, metrics.Histogram):
    """A histogram."""

    def record(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Record one value."""
        self.measure(amount, attributes, context)


class OwnGauge(OwnInstrument, metrics._Gauge):
    """A gauge."""

    def set(
        self,
        amount: float,
        attributes: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Say what it stands at now."""
        self.measure(amount, attributes, context)


class OwnObservable(OwnInstrument):
    """An instrument whose callbacks are asked at each collection."""

    def __init__(self, *definition: Any) -> None:
        *definition_of_ours, callbacks = definition
        super().__init__(*definition_of_ours)
        self._callbacks = [_as_function(callback) for callback in callbacks or ()]
        self._proxy: Any = None

    def observe(self, proxy: Any) -> None:
        """Have the callbacks asked, as long as this stands behind `proxy`."""
        self._proxy = proxy
        current = telemetry.installed()
        if current is not None and current.is_active:
            instrument = self.found(current)
            for callback in self._callbacks:
                instrument.observe(self._asking(callback))

    def _asking(self, callback: Callable[..., Any]) -> Callable[[], Iterable[Any]]:
        def ask() -> Iterable[Any]:
            if self._proxy._real_instrument is not self:
                return []
            options = metrics.CallbackOptions(timeout_millis=CALLBACK_MS_MAX)
            return [(found.value, found.attributes) for found in callback(options)]

        return ask


class OwnObservableCounter(OwnObservable, metrics.ObservableCounter):
    """A counter that is asked at each collection."""


class OwnObservableUpDownCounter(OwnObservable, metrics.ObservableUpDownCounter):
    """An up-down counter that is asked at each collection."""


class OwnObservableGauge(OwnObservable, metrics.ObservableGauge):
    """A gauge that is asked at each collection."""


def _as_function(callback: Any) -> Callable[..., Any]:
    """A generator is asked by sending it the options; what it yields first is for nobody."""
    if not isinstance(callback, Generator):
        function: Callable[..., Any] = callback
        return function
    next(callback)

    def ask(options: Any) -> Any:
        try:
            return callback.send(options)
        except StopIteration:
            return ()

    return ask
