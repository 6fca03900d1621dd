"""`lambdatrace coldstart`: what a function's init is spent on, and what could be imported later."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.cli.coldstart.cold_starts import SAVING_NS_MIN, ColdStartError, ColdStarts

if TYPE_CHECKING:
    import argparse

RUNS = 5
TOP = 30
_NS_PER_MS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lambdatrace coldstart`."""
    parser.add_argument("target", metavar="TARGET", help="a handler, as app.handler")
    parser.add_argument(
        "--code-dir",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the function's folder (default: this one)",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an environment variable of the function; may be repeated",
    )
    parser.add_argument(
        "--python",
        default=sys.executable,
        metavar="PATH",
        help="the interpreter (default: this one)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=RUNS,
        metavar="N",
        help="fresh processes; medians are shown (default 5)",
    )
    parser.add_argument(
        "--min-ms",
        type=float,
        default=1.0,
        metavar="MS",
        help="the shortest import to show and to propose, in ms (default 1)",
    )
    parser.add_argument(
        "--top",
        type=int,
        default=TOP,
        metavar="N",
        help=f"how many modules to show, the slowest (default {TOP}; 0: all)",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write a flame graph there, a page for any browser",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; 0, or 1 when the handler cannot be started or the input is bad."""
    from lambdatrace.cli.coldstart.flame_graph import flame_graph
    from lambdatrace.cli.coldstart.report import report
    from lambdatrace.harness import HarnessError
    from lambdatrace.harness.target import check_handler, parse_target

    min_ns = int(arguments.min_ms * _NS_PER_MS)
    if arguments.runs < 1 or min_ns < 0 or arguments.top < 0:
        sys.stderr.write(
            "lambdatrace coldstart: --runs is at least 1, --min-ms and --top at least 0\n"
        )
        return 1
    try:
        handler = parse_target(arguments.target).handler
        check_handler(handler, arguments.code_dir)
        starts = ColdStarts(
            handler,
            arguments.code_dir,
            python=arguments.python,
            environment=dict(_key_and_value(item) for item in arguments.env),
        )
        start = starts.median(arguments.runs)
        deferral = starts.deferral(start, max(min_ns, SAVING_NS_MIN))
        lines = report(
            handler,
            start,
            deferral,
            min_ns=min_ns,
            top=arguments.top,
            code_dir=arguments.code_dir.resolve(),
        )
        sys.stdout.write("\n".join(lines) + "\n")
        if arguments.html is not None:
            arguments.html.write_text(flame_graph(handler, start), "utf-8")
            sys.stdout.write(f"flame graph: {arguments.html}\n")
    except (ColdStartError, HarnessError, OSError) as error:
        sys.stderr.write(f"lambdatrace coldstart: {error}\n")
        return 1
    return 0


def _key_and_value(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not equals:
        raise ColdStartError(f"--env '{item}': expected KEY=VALUE")
    return key, value
