"""All benchmarks, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = (
    "cold_start",
    "calls",
    "patches",
    "harness_invoke",
    "harness_peers",
    "harness_chaos",
    "collector_hostile",
    "collector_otlp",
    "collector_small",
    "collector_chaos",
    "collector_overload",
    "freeze_loss",
)

if __name__ == "__main__":
    for name in BENCHMARKS:
        print(f"\n# {name}", flush=True)
        sys.argv[1:] = []
        importlib.import_module(f"benchmarks.{name}").main()
