"""Names of variables that begin with LAMBDATRACE_ and are no setting: a line for each.

Loaded only where there is one.
"""

from __future__ import annotations

from lambdatrace.errors import UnknownSettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "LAMBDATRACE_"
# What other libraries call after themselves and is a setting of another name here.
_OTHERWISE = {
    "SAMPLE_RATE": "OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG",
    "TRACE_SAMPLE_RATE": "OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG",
    "SERVICE": "OTEL_SERVICE_NAME",
    "DISABLED": "LAMBDATRACE_ENABLED",
    "TRACE_ENABLED": "LAMBDATRACE_ENABLED",
    "LOGGER_SAMPLE_RATE": "LAMBDATRACE_LOG_SAMPLE_RATE",
    "NAMESPACE": "LAMBDATRACE_METRICS_NAMESPACE",
    "ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "HEADERS": "OTEL_EXPORTER_OTLP_HEADERS",
}
_ALIKE_MIN = 0.6  # as `difflib` measures it; below, two names have nothing to do with each other


def unknown_errors(names: Iterable[str]) -> list[UnknownSettingError]:
    """An error for each of `names`, in their order by alphabet, with the setting most like it."""
    return [UnknownSettingError(name, nearest(name)) for name in sorted(names)]


def nearest(name: str) -> str:
    """The setting that was meant, most likely; empty if none is like it."""
    from lambdatrace.exporter_settings import EXPORTER_TABLE
    from lambdatrace.settings import HANDLER, TABLE

    known = [HANDLER[0], *(row[0] for row in (*TABLE, *EXPORTER_TABLE))]
    # By what follows OTEL_ or LAMBDATRACE_: half of a setting's users try the other of the two.
    by_rest = {each.partition("_")[2]: each for each in known}
    rest = name.removeprefix(PREFIX).upper()
    if rest in _OTHERWISE:
        return _OTHERWISE[rest]
    if rest in by_rest:
        return by_rest[rest]
    from difflib import get_close_matches

    found = get_close_matches(rest, by_rest, 1, _ALIKE_MIN)
    return by_rest[found[0]] if found else ""
