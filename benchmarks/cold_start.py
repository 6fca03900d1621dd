"""What tracing costs a function: init, response, idle and memory, over a handler with nothing.

    python -m benchmarks.cold_start [--environments 7] [--calls 100]

Six functions on the real runtime client, in turn: bare, lambdatrace (from the layer for one
runtime, and from that for every runtime), OpenTelemetry's layer for Python (its wrapper script and
instrumentation, from the packages that are installed here: fewer than the layer has), the
OpenTelemetry SDK set up by hand, and Powertools. Each round has fresh environments. "init" is the
REPORT line's Init Duration; "response" is from the event given to a warm environment to its answer;
"idle" is until runtime and extensions have asked for the next event, the REPORT line's Duration.
"""

from __future__ import annotations

import argparse
import compileall
import re
import statistics
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.otlp_endpoint import otlp_endpoint
from lambdatrace.harness.function import Function
from lambdatrace.harness.harness import Harness
from lambdatrace.layer import build_layer
from lambdatrace.layer.bytecode import inspect_interpreter

if TYPE_CHECKING:
    from collections.abc import Iterable

FUNCTIONS = Path(__file__).parent / "functions"

EVERY_RUNTIME = "every_runtimes_layer"

# Name of the function → its handler.
VARIANTS = {
    "bare": "bare.handler",
    "with_lambdatrace": "with_lambdatrace.handler",
    EVERY_RUNTIME: "with_lambdatrace.handler",
    "opentelemetry_layer": "plain.handler",
    "with_opentelemetry_sdk": "with_opentelemetry_sdk.handler",
    "with_powertools": "with_powertools.handler",
}

# What opentelemetry-lambda's /opt/otel-instrument does: its defaults, its handler before ours, and
# the start by way of `opentelemetry-instrument`.
OTEL_INSTRUMENT = """\
#!/bin/sh
export OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_PROPAGATORS=tracecontext,baggage,xray
export OTEL_SERVICE_NAME="$AWS_LAMBDA_FUNCTION_NAME"
export ORIG_HANDLER="$_HANDLER" _HANDLER=otel_wrapper.lambda_handler
exec {python} {program} "$@"
"""

WARM_UP = 20

# Over bare: ms, memory in MB.
BARS = {"init": 5.0, "response": 0.05, "idle": 0.25, "memory_mb": 3.0}
# Init over bare, as a share of what OpenTelemetry's layer has over bare.
SHARE_OF_LAYER_MAX = 1 / 50

# What the functions import: on Lambda its bytecode is there before the first start, so here too.
PRECOMPILED = (
    *("awslambdaric", "simplejson", "snapshot_restore_py", "opentelemetry", "google"),
    *("requests", "urllib3", "charset_normalizer", "idna", "certifi", "wrapt", "packaging"),
    *("aws_lambda_powertools", "aws_xray_sdk", "botocore", "boto3", "jmespath", "dateutil"),
)


class Figures(NamedTuple):
    """Medians in ms."""

    init: float
    response: float
    idle: float
    memory_mb: float


def measure(environments: int, calls: int) -> dict[str, Figures]:
    """The medians of each variant over `environments` fresh environments of `calls` warm calls."""
    samples: dict[str, list[Figures]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder, otlp_endpoint() as url:
        _precompile()
        layers = dict.fromkeys(VARIANTS, _layer(Path(folder, "one"), is_all_bundled=True))
        layers[EVERY_RUNTIME] = _layer(Path(folder, "every"), is_all_bundled=False)
        for number in range(environments):
            for variant, figures in _round(layers, url, calls, number).items():
                samples[variant].append(figures)
    return {
        variant: Figures(*(statistics.median(column) for column in zip(*rows, strict=True)))
        for variant, rows in samples.items()
    }


def _round(layers: dict[str, Path], endpoint: str, calls: int, number: int) -> dict[str, Figures]:
    """One environment of each variant, each called `calls` times in a row, as a warm one is.

    Each round another variant is first: a harness's first environment starts sooner than others.
    """
    first = number % len(VARIANTS)
    variants = [*VARIANTS][first:] + [*VARIANTS][:first]
    functions = [_function(variant, layers[variant], endpoint) for variant in VARIANTS]
    with Harness(functions) as harness:
        for variant in variants:
            # The first calls load what is loaded at the first use.
            for _ in range(WARM_UP + calls):
                harness.invoke(variant, {})
                harness.wait_frozen(variant)
        return {variant: _figures(harness, variant, calls) for variant in VARIANTS}


def _function(variant: str, layer: Path, endpoint: str) -> Function:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    if variant == "opentelemetry_layer":
        environment["AWS_LAMBDA_EXEC_WRAPPER"] = "/opt/otel-instrument"
    return Function(
        variant,
        VARIANTS[variant],
        code_dir=FUNCTIONS,
        layers=[layer],  # for each, so that mounting it is no difference
        memory_size_mb=256,  # the peers do not fit into 128
        environment=environment,
    )


def _figures(harness: Harness, variant: str, calls: int) -> Figures:
    warm = harness.executions(variant)[-calls:]
    reports = [e.message for e in harness.logs(variant) if e.message.startswith("REPORT")]
    return Figures(
        _field(reports[0], "Init Duration"),
        statistics.median(facts.response_ms for facts in warm),
        statistics.median(facts.duration_ms for facts in warm),
        _field(reports[-1], "Max Memory Used"),
    )


def _field(report: str, name: str) -> float:
    found = re.search(rf"\t{name}: ([0-9.]+)", report)
    assert found, report
    return float(found[1])


def _precompile() -> None:
    for package in PRECOMPILED:
        spec = find_spec(package)
        for location in (spec.submodule_search_locations or []) if spec else []:
            compileall.compile_dir(location, quiet=2, workers=2)
    compileall.compile_dir(FUNCTIONS, quiet=2)


def _layer(folder: Path, *, is_all_bundled: bool) -> Path:
    """As `lambdatrace layer build` makes it, with `--runtime` or without; with the peer's."""
    folder.mkdir()
    own = [inspect_interpreter(sys.executable)] if is_all_bundled else None
    build_layer(folder / "layer.zip", own, is_all_bundled=is_all_bundled)
    with zipfile.ZipFile(folder / "layer.zip") as layer:
        layer.extractall(folder / "opt")
    wrapper = folder / "opt" / "otel-instrument"
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    wrapper.write_text(OTEL_INSTRUMENT.format(python=sys.executable, program=program))
    wrapper.chmod(0o755)
    return folder / "opt"


def rows(figures: dict[str, Figures]) -> Iterable[str]:
    """The table, and each bar with the figure that meets or misses it."""
    bare = figures["bare"]
    yield f"{'':24}{'init ms':>16}{'response ms':>18}{'idle ms':>18}{'memory MB':>12}"
    for variant, own in figures.items():
        cells = (
            f"{own.init:7.1f} ({own.init - bare.init:+6.1f})",
            f"{own.response:8.3f} ({own.response - bare.response:+6.3f})",
            f"{own.idle:8.3f} ({own.idle - bare.idle:+6.3f})",
            f"{own.memory_mb:12.0f}",
        )
        yield f"{variant:24}" + "  ".join(cells)
    own, layer = figures["with_lambdatrace"], figures["opentelemetry_layer"]
    over = {name: getattr(own, name) - getattr(bare, name) for name in Figures._fields}
    for name, bar in BARS.items():
        unit = "MB" if name == "memory_mb" else "ms"
        verdict = "met" if over[name] <= bar else "MISSED"
        yield f"{name} over bare: {over[name]:.3f} {unit} (bar {bar} {unit}): {verdict}"
    share = over["init"] / (layer.init - bare.init)
    verdict = "met" if share <= SHARE_OF_LAYER_MAX else "MISSED"
    yield f"init over bare, of the layer's: 1/{1 / share:.0f} (bar 1/50): {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=int, default=7)
    parser.add_argument("--calls", type=int, default=100)
    arguments = parser.parse_args()
    for row in rows(measure(arguments.environments, arguments.calls)):
        print(row)


if __name__ == "__main__":
    main()
