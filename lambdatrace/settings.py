"""The settings of what records, in one table, read once from the environment at the start.

Names and meanings are OpenTelemetry's where it has one (OTEL_*), ours otherwise (LAMBDATRACE_*).
A value that cannot be used is reported and the default taken: a typing error in a variable must
not stop a function. What sends has a table of its own: `exporter_settings.py`.
"""

from __future__ import annotations

from lambdatrace import OFF
from lambdatrace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from typing import Any

    from lambdatrace.errors import UnknownSettingError


_NUMBER_MAX = 1_000_000_000


def _text(_name: str, value: str) -> str:
    return value


_ON = frozenset(("true", "1", "yes", "on", "y", "t"))  # as Powertools


def boolean(name: str, value: str) -> bool:
    """True or false, in the words people write."""
    lowered = value.strip().lower()
    if lowered not in _ON and lowered not in OFF:
        raise SettingError(name, value, "true or false, 1 or 0, yes or no, on or off")
    return lowered in _ON


def _true_or_false(name: str, value: str) -> bool:
    """As OpenTelemetry has booleans: only `true`, in any case, is true."""
    lowered = value.lower()
    if lowered not in ("true", "false"):
        raise SettingError(name, value, "true or false")
    return lowered == "true"


def positive(name: str, value: str) -> int:
    """A whole number, at least 1."""
    if len(value) > len(str(_NUMBER_MAX)) or not value.isdecimal():
        raise SettingError(name, value, f"a whole number from 1 to {_NUMBER_MAX}")
    if not 0 < int(value) <= _NUMBER_MAX:
        raise SettingError(name, value, f"a whole number from 1 to {_NUMBER_MAX}")
    return int(value)


def _positive_or_none(name: str, value: str) -> int:
    return positive(name, value) if value else 0


def _share(name: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingError(name, value, "a number from 0 to 1")
    return share


def _log_level(name: str, value: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if value.upper() not in levels:
        raise SettingError(name, value, "one of " + ", ".join(levels))
    return value.upper()


def _redacted_keys(name: str, value: str) -> tuple[re.Pattern[str], ...]:
    if not value:
        return ()
    from lambdatrace.redaction import parse_keys

    return parse_keys(name, value)


def _redacted_values(name: str, value: str) -> tuple[re.Pattern[str], ...]:
    if not value:
        return ()
    from lambdatrace.redaction import parse_values

    return parse_values(name, value)


def one_of(*choices: str) -> Callable[[str, str], str]:
    """A parser that takes one of `choices`, in any case."""

    def parse(name: str, value: str) -> str:
        if value.lower() not in choices:
            raise SettingError(name, value, "one of " + ", ".join(choices))
        return value.lower()

    return parse


def _some_of(*choices: str) -> Callable[[str, str], frozenset[str] | None]:
    """Parses names between commas, `none`, or `all`, which gives None."""

    def parse(name: str, value: str) -> frozenset[str] | None:
        chosen = frozenset(item.strip() for item in value.lower().split(",") if item.strip())
        if chosen == {"all"}:
            return None
        if chosen == {"none"}:
            return frozenset()
        if not chosen or not chosen.issubset(choices):
            raise SettingError(name, value, "all, none, or some of " + ", ".join(choices))
        return chosen

    return parse


def pairs(name: str, value: str) -> dict[str, str]:
    """`key=value` pairs between commas, values percent-encoded, as OpenTelemetry writes them."""
    found = {}
    for item in value.split(","):
        if not item.strip():
            continue
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise SettingError(name, value, "key=value pairs between commas")
        found[key.strip()] = _percent_decoded(text.strip())
    return found


def _percent_decoded(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote  # 1.8 ms, for the few who need it

    return unquote(text)


def _kept(name: str, value: str) -> tuple[str, ...]:
    if not value:
        return ()
    from lambdatrace.sampling import KEPT

    names = tuple(item.strip().lower() for item in value.split(",") if item.strip())
    if not set(names) <= set(KEPT):
        raise SettingError(name, value, "some of " + ", ".join(KEPT))
    return names


PROPAGATORS_DEFAULT = ("xray", "tracecontext", "baggage")


def _propagators(_name: str, value: str) -> tuple[str, ...]:
    if value == ",".join(PROPAGATORS_DEFAULT):
        return PROPAGATORS_DEFAULT
    from lambdatrace.propagators import parse_propagators

    return parse_propagators(value)


NAMESPACE_RULE = "1 to 255 letters, digits, spaces or .-_/#:, not `AWS/…`, no leading colon"
_NAMESPACE_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/#: "
_NAMESPACE_LENGTH_MAX = 255


def is_metric_namespace(text: str) -> bool:
    """Whether CloudWatch takes custom metrics under this name (User Guide, "Namespaces")."""
    return (
        0 < len(text) <= _NAMESPACE_LENGTH_MAX
        and not text.strip(_NAMESPACE_CHARACTERS)
        and not text.startswith(("AWS/", ":"))
        and not text.isspace()
    )


def _namespace(name: str, value: str) -> str:
    if not is_metric_namespace(value):
        raise SettingError(name, value, NAMESPACE_RULE)
    return value


def _names(_name: str, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _disabled(name: str, value: str) -> tuple[str, ...]:
    names = _names(name, value)
    for each in names:
        if each != "*" and not each.replace("-", "").replace("_", "").replace(".", "").isalnum():
            expected = "names of instrumentors, as redis or aio-pika, between commas, or *"
            raise SettingError(name, value, expected)
    return names


INVOCATION_METRICS = (
    *("ColdStart", "Errors", "Duration", "InitDuration", "Timeouts"),
    *("BatchItemFailures", "EstimatedCost"),
)


def _invocation_metrics(name: str, value: str) -> tuple[str, ...]:
    if value == "none":
        return ()
    if value == "all":
        return INVOCATION_METRICS
    wanted = {item.strip().lower() for item in value.split(",") if item.strip()}
    found = tuple(known for known in INVOCATION_METRICS if known.lower() in wanted)
    if len(found) != len(wanted):
        raise SettingError(name, value, "all, none, or some of " + ", ".join(INVOCATION_METRICS))
    return found


DEFAULT_SAMPLER = "parentbased_always_on"

# name, default and sentence of what `auto.py` reads, before there are settings
HANDLER = (
    "LAMBDATRACE_HANDLER",
    "",
    "The handler that `lambdatrace.auto.handler` runs, `module.function`.",
)

# name, attribute, parser, default as written in the environment, one sentence
TABLE: tuple[tuple[str, str, Callable[[str, str], Any], str, str], ...] = (
    ("OTEL_SDK_DISABLED", "is_disabled", _true_or_false, "false", "Turn all of it off."),
    (
        "LAMBDATRACE_ENABLED",
        "is_enabled",
        boolean,
        "true",
        "Turn all of it off with `false`, for this SDK alone.",
    ),
    (
        "OTEL_SERVICE_NAME",
        "service_name",
        _text,
        "",
        "`service.name` and the `service` dimension of metrics; the function's name when empty.",
    ),
    (
        "OTEL_RESOURCE_ATTRIBUTES",
        "resource_attributes",
        pairs,
        "",
        "More attributes of the resource, `key=value` between commas.",
    ),
    (
        "LAMBDATRACE_IMPORT_SPANS_MIN_MS",
        "import_spans_min_ms",
        _positive_or_none,
        "",
        "Imports that took at least so many ms become spans below the init's; empty: none do.",
    ),
    (
        "LAMBDATRACE_JOURNAL",
        "keeps_journal",
        boolean,
        "true",
        "Note in a file in `/tmp` what is not sent yet, for the next process if this one dies.",
    ),
    (
        "OTEL_TRACES_EXPORTER",
        "traces_exporter",
        one_of("otlp", "xray", "console", "none"),
        "otlp",
        "Where spans go: `otlp`, `xray` (the X-Ray daemon), `console` (standard output) or `none`.",
    ),
    (
        "OTEL_TRACES_SAMPLER",
        "sampler",
        one_of(
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ),
        DEFAULT_SAMPLER,
        "Which traces are recorded; `jaeger_remote` and `xray`, which ask a service, are refused.",
    ),
    (
        "OTEL_TRACES_SAMPLER_ARG",
        "sampler_argument",
        _text,
        "1.0",
        "The share of traces, 0 to 1, that the `traceidratio` samplers keep.",
    ),
    (
        "LAMBDATRACE_KEEP_UNSAMPLED",
        "keep_unsampled",
        _kept,
        "",
        "Traces that are sent although the sampler leaves them out: `errors`, `cold_starts`.",
    ),
    (
        "OTEL_PROPAGATORS",
        "propagators",
        _propagators,
        ",".join(PROPAGATORS_DEFAULT),
        "Whose headers carry context: `tracecontext`, `baggage`, `xray`, `xray-lambda`, `b3`, …",
    ),
    (
        "OTEL_METRICS_EXPORTER",
        "metrics_exporter",
        one_of("emf", "otlp", "none"),
        "emf",
        "Where metrics go: `emf` (embedded metric format on standard output), `otlp` or `none`.",
    ),
    (
        "OTEL_LOGS_EXPORTER",
        "logs_exporter",
        one_of("otlp", "none"),
        "none",
        "Where log records go besides the function's log: `otlp` or `none`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "metrics_temporality",
        one_of("delta", "cumulative", "lowmemory"),
        "delta",
        "Since when OTLP counts are: `delta` (since the last send), `cumulative` or `lowmemory`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "metrics_histogram",
        one_of("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "explicit_bucket_histogram",
        "The buckets of OTLP histograms: fixed, or `base2_exponential_bucket_histogram`.",
    ),
    (
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "metrics_exemplars",
        one_of("trace_based", "always_on", "always_off"),
        "trace_based",
        "Which measurements are kept beside OTLP metrics: those in a sampled span, all, or none.",
    ),
    (
        "LAMBDATRACE_METRICS_NAMESPACE",
        "metrics_namespace",
        _namespace,
        "lambdatrace",
        "The CloudWatch namespace of custom metrics that are given none.",
    ),
    (
        "LAMBDATRACE_METRICS_DIMENSIONS",
        "metrics_dimensions",
        pairs,
        "",
        "Dimensions of each metric, `key=value` between commas; `service=` leaves that one out.",
    ),
    (
        "LAMBDATRACE_INVOCATION_METRICS",
        "invocation_metrics",
        _invocation_metrics,
        "none",
        "Built-in metrics, which cost money: `all`, `none`, or some of `ColdStart`, `Errors`, …",
    ),
    (
        "LAMBDATRACE_LOGS_INJECTION",
        "injects_ids",
        boolean,
        "true",
        "Whether records of `logging` get `trace_id`, `span_id` and `trace_flags`.",
    ),
    (
        "LAMBDATRACE_OTLP_LOG_LEVEL",
        "captured_log_level",
        _log_level,
        "DEBUG",
        "The lowest level of `logging` that OTLP gets, of what loggers handle by their own level.",
    ),
    (
        "LAMBDATRACE_LOG_LEVEL",
        "log_level",
        _log_level,
        "INFO",
        "The level of `lambdatrace.logger`, but not below `AWS_LAMBDA_LOG_LEVEL`.",
    ),
    (
        "LAMBDATRACE_LOG_SAMPLE_RATE",
        "debug_share",
        _share,
        "0",
        "The share of invocations, 0 to 1, in which `lambdatrace.logger` writes DEBUG too.",
    ),
    (
        "LAMBDATRACE_LOG_EVENT",
        "logs_event",
        boolean,
        "false",
        "Whether `inject_lambda_context` of `lambdatrace.logger` writes the event, redacted.",
    ),
    (
        "LAMBDATRACE_CAPTURE_PAYLOAD",
        "captures_payload",
        boolean,
        "false",
        "Whether event and response become attributes of the invocation's span, as redacted JSON.",
    ),
    (
        "LAMBDATRACE_CAPTURE_PAYLOAD_MAX_BYTES",
        "payload_bytes_max",
        positive,
        "4096",
        "How many bytes of an event, and of a response, are captured at most.",
    ),
    (
        "LAMBDATRACE_INSTRUMENTATIONS",
        "instrumentations",
        _names,
        "",
        "OpenTelemetry's instrumentors to use, with commas, `all` or `none`; empty: a layer's own.",
    ),
    (
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        "disabled_instrumentations",
        _disabled,
        "",
        "OpenTelemetry's instrumentors that stay off, with commas; `*` for all.",
    ),
    (
        "LAMBDATRACE_PATCHES",
        "patches",
        _some_of("botocore", "urllib3", "requests", "http.client"),
        "all",
        "The libraries whose calls are recorded, between commas, `all` or `none`.",
    ),
    (
        "LAMBDATRACE_PAYLOAD_CONTEXT",
        "payload_context",
        _some_of("eventbridge", "kinesis"),
        "eventbridge",
        "The AWS services to whose JSON payloads the trace context is added as a key, or `none`.",
    ),
    (
        "LAMBDATRACE_REDACTION",
        "redacts",
        boolean,
        "true",
        "Whether passwords, tokens, keys and card numbers are replaced by `REDACTED`.",
    ),
    (
        "LAMBDATRACE_REDACT_KEYS",
        "redacted_keys",
        _redacted_keys,
        "",
        "More keys whose values are redacted: their ends or `/regular expressions/`, with commas.",
    ),
    (
        "LAMBDATRACE_REDACT_VALUES",
        "redacted_values",
        _redacted_values,
        "",
        "More that is redacted in values: texts or `/regular expressions/`, with commas.",
    ),
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "buffer_size_max",
        positive,
        "2048",
        "How many finished spans may wait; beyond, the oldest are dropped and counted.",
    ),
    (
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "batch_size_max",
        positive,
        "512",
        "How many spans one request carries at most.",
    ),
    (
        "OTEL_BSP_SCHEDULE_DELAY",
        "schedule_delay_ms",
        positive,
        "1000",
        "On Managed Instances, where nothing freezes: the time between two sends, in ms.",
    ),
    (
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "log_buffer_size_max",
        positive,
        "2048",
        "How many log records may wait; beyond, the oldest are dropped and counted.",
    ),
)


_PREFIX = "LAMBDATRACE_"
# Variables with our prefix that are read elsewhere; those of our own tests are for no function.
_OTHERS = (HANDLER[0], "LAMBDATRACE_OTLP_SIGV4")
_OWN_TESTS = "LAMBDATRACE_TEST_"
_NAMES = frozenset((*_OTHERS, *(row[0] for row in TABLE)))


class Settings:
    """The values of TABLE as attributes, and the `errors` met while reading them."""

    is_disabled: bool
    is_enabled: bool
    service_name: str
    resource_attributes: dict[str, str]
    import_spans_min_ms: int
    keeps_journal: bool
    traces_exporter: str
    sampler: str
    sampler_argument: str
    keep_unsampled: tuple[str, ...]
    propagators: tuple[str, ...]
    metrics_exporter: str
    metrics_temporality: str
    metrics_histogram: str
    metrics_exemplars: str
    metrics_namespace: str
    metrics_dimensions: dict[str, str]
    invocation_metrics: tuple[str, ...]
    injects_ids: bool
    instrumentations: tuple[str, ...]
    disabled_instrumentations: tuple[str, ...]
    captured_log_level: str
    log_level: str
    debug_share: float
    logs_event: bool
    captures_payload: bool
    payload_bytes_max: int
    patches: frozenset[str] | None
    payload_context: frozenset[str] | None
    redacts: bool
    redacted_keys: tuple[re.Pattern[str], ...]
    redacted_values: tuple[re.Pattern[str], ...]
    logs_exporter: str
    buffer_size_max: int
    batch_size_max: int
    schedule_delay_ms: int
    log_buffer_size_max: int

    def __init__(self) -> None:
        self.errors: list[SettingError | UnknownSettingError] = []

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Settings as `environ` has them; an empty variable counts as unset (OpenTelemetry)."""
        settings = cls()
        for name, attribute, parse, default, _ in TABLE:
            try:
                value = parse(name, environ.get(name) or default)
            except SettingError as error:
                settings.errors.append(error)
                value, error.taken = error.instead, ",".join(error.instead or ())
                if value is None:
                    value, error.taken = parse(name, default), default
            setattr(settings, attribute, value)
        unknown = [
            name
            for name in environ
            if name.startswith(_PREFIX) and name not in _NAMES and not name.startswith(_OWN_TESTS)
        ]
        if unknown:
            from lambdatrace.unknown_settings import unknown_errors

            settings.errors += unknown_errors(unknown)
        return settings
