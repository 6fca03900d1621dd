"""Hostile input at every decoder and grammar of the collector: no crash, no mistake, no hang.

`python -m benchmarks.collector_hostile --seconds 60` breaks valid inputs of each target of
`benchmarks/hostile/` for its share of the time, in this process. With `--http` it sends those of
the wire to a collector with its engine, which must answer each without a 500 and outlive them.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.collector_process import peak_rss_mb, start_collector, stop
from benchmarks.hostile import languages, otlp, wire, xray  # noqa: F401 - importing registers
from benchmarks.hostile.over_http import attack_over_http, offered
from benchmarks.hostile.targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUT_DEADLINE_S = 5.0
FOUND_MAX = 5  # of one target: the first tell the most


@dataclass
class Report:
    """What one target was given, and what it did wrong."""

    target: str
    inputs: int = 0
    taken: int = 0  # of them; the others were refused
    slowest_s: float = 0.0
    wrong: list[tuple[int, str, bytes]] = field(default_factory=list)  # seed, error, input


class HangError(BaseException):
    """An input took too long. Not an Exception: no `except` of a target may keep it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise HangError in the main thread after `seconds`."""

    def ring(_number: int, _frame: Any) -> None:
        raise HangError(f"took over {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attack(target: Target, seconds: float, first_seed: int = 0) -> Report:
    """Give `target` broken inputs for `seconds`."""
    report = Report(target.name)
    end = time.monotonic() + seconds
    seed = first_seed
    while time.monotonic() < end and len(report.wrong) < FOUND_MAX:
        content = target.mutate(Random(seed), target.seeds)
        began = time.perf_counter()
        error = mistake(target, content, report)
        report.slowest_s = max(report.slowest_s, time.perf_counter() - began)
        report.inputs += 1
        if error is not None:
            report.wrong.append((seed, error, content))
        seed += 1
    return report


def mistake(target: Target, content: bytes, report: Report | None = None) -> str | None:
    """What `target` does wrong with `content`; None when it takes or refuses it."""
    try:
        with deadline(INPUT_DEADLINE_S):
            target.read(content)
    except target.refusals:
        return None
    except (Exception, HangError) as error:  # noqa: BLE001 - what it may be is the question
        return f"{type(error).__name__}: {str(error)[:300]}"
    if report is not None:
        report.taken += 1
    return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS))
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    parser.add_argument("--http", action="store_true", help="send them to a collector")
    options = parser.parse_args()
    if options.http:
        attack_a_collector(options.seconds, options.seed)
        return
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    print(f"{len(chosen)} targets, seeds from {options.seed}", flush=True)
    print("| target | inputs | taken | slowest | wrong |\n|---|---|---|---|---|")
    reports = []
    for target in chosen:
        report = attack(target, options.seconds / len(chosen), options.seed)
        reports.append(report)
        print(
            f"| {report.target} | {report.inputs:,} | {report.taken:,} |"
            f" {report.slowest_s * 1000:.0f} ms | {len(report.wrong)} |",
            flush=True,
        )
        for seed, error, content in report.wrong:
            print(f"    seed {seed}: {error}\n    {content[:200]!r}")
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    total = sum(report.inputs for report in reports)
    print(f"| all | {total:,} | | | {sum(len(report.wrong) for report in reports)} |")
    print(f"memory at its highest: {memory_mb} MB")
    if any(report.wrong for report in reports):
        sys.exit(1)


def attack_a_collector(seconds: float, first_seed: int) -> None:
    """Send broken requests of all protocols to a collector; exits with 1 on a mistake of it."""
    seeds = [
        content
        for name, target in TARGETS.items()
        if name in wire.SPOKEN
        for content in target.seeds
    ]
    with tempfile.TemporaryDirectory() as folder:
        process, url = start_collector(Path(folder) / "data", log=Path(folder) / "log")
        try:
            for setting_up in ("CreateLogGroup", "CreateLogStream"):  # that the others are about
                offered(url, [content for content in seeds if setting_up.encode() in content])
            # One in ten is of an operation that is not offered.
            known = offered(url, seeds)
            several = known * (9 * len(seeds) // len(known)) + seeds
            report = attack_over_http(url, several, seconds, first_seed)
            with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
                is_ready = answer.status == HTTPStatus.OK
            memory_mb = peak_rss_mb(process.pid)
        finally:
            stop(process)
        tracebacks = (Path(folder) / "log").read_text().count("Traceback")
    shown = ", ".join(f"{status}: {count:,}" for status, count in sorted(report.statuses.items()))
    print(f"{report.inputs:,} requests, seeds from {first_seed}")
    print(f"by status: {shown} (0: the connection was closed)")
    print(f"slowest {report.slowest_s * 1000:.0f} ms; {memory_mb:.0f} MB; ready: {is_ready}")
    print(f"tracebacks in the log: {tracebacks}; wrong: {len(report.wrong)}")
    for seed, error, content in report.wrong:
        print(f"    seed {seed}: {error}\n    {content[:300]!r}")
    if report.wrong or tracebacks or not is_ready:
        sys.exit(1)


if __name__ == "__main__":
    main()
