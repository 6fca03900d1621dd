"""`lambdatrace load`: many invokes of one function on a local Lambda, and what they came to."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import sys
from typing import TYPE_CHECKING

from lambdatrace.cli.invoke import read_event
from lambdatrace.cli.load_report import as_document, as_text
from lambdatrace.cli.start import add_event_arguments, add_function_arguments, functions, print_log

if TYPE_CHECKING:
    import argparse
    from concurrent.futures import Future

    from lambdatrace.harness.load import LoadRun
    from lambdatrace.harness.load_plan import LoadPlan

DURATION_S = 10.0
INTERRUPTED = 130  # the exit status of what Ctrl-C ended, as shells have it
_REFRESH_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lambdatrace load`."""
    add_event_arguments(parser)
    parser.add_argument(
        "--rate",
        type=float,
        metavar="PER_SECOND",
        help="send so many a second, however slow the function is (default: each caller sends when "
        "it has its answer)",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="callers (default 1); with --rate, invokes under way at most (default 1000)",
    )
    parser.add_argument(
        "--ramp",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="in which the rate, or the number of callers, grows from nothing (default 0)",
    )
    parser.add_argument(
        "--duration",
        type=float,
        metavar="SECONDS",
        help="how long to send (default 10, or as long as --count takes)",
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        help="how many invokes at most (default: as many as the time takes)",
    )
    parser.add_argument(
        "--account-concurrency",
        type=int,
        metavar="N",
        help="environments at once, beyond which invokes are throttled (default: the harness's)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--logs", action="store_true", help="print the function's log on standard error"
    )
    add_function_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the result on stdout, all else on stderr.

    0, 1 for bad input or when an invoke failed, was throttled or refused, 130 for Ctrl-C.
    """
    from lambdatrace.harness import Harness, HarnessError
    from lambdatrace.harness.load import LoadRun
    from lambdatrace.harness.load_plan import LoadPlan

    try:
        is_endless = arguments.duration is None and arguments.count is None
        plan = LoadPlan(
            arguments.rate,
            arguments.concurrency,
            arguments.ramp,
            arguments.ramp + DURATION_S if is_endless else arguments.duration,
            arguments.count,
        )
        event = read_event(arguments.event)
        [function] = functions([arguments.target], arguments)
        limit = arguments.account_concurrency
        load = LoadRun(function, plan)
        interrupts = _stop_on_signals(load)
        with Harness(
            [function],
            collector_url=arguments.collector,
            region=arguments.region,
            cpu_limit=arguments.cpu_limit,
            on_log=print_log if arguments.logs else None,
            on_executed=load.executed,
            **({} if limit is None else {"concurrency_max": limit}),
        ) as harness:
            done = harness.load(load, event)
            _show_progress(load, plan, done, interrupts)
    except (HarnessError, OSError) as error:
        print(f"lambdatrace load: {error}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    sys.stderr.flush()
    result = load.result
    sys.stdout.write(
        json.dumps(as_document(result, is_interrupted=load.is_stopped)) + "\n"
        if arguments.json
        else as_text(result, is_interrupted=load.is_stopped)
    )
    if load.is_stopped:
        return INTERRUPTED
    unserved = result.failed + result.throttles + sum(result.refused.values())
    if unserved:
        sys.stderr.write(f"lambdatrace load: {unserved} of {result.sent} invokes did not succeed\n")
    return 1 if unserved else 0


def _stop_on_signals(load: LoadRun) -> list[int]:
    """The first Ctrl-C (or SIGTERM) stops the sending; the list gets each of them."""
    interrupts: list[int] = []

    def interrupt(number: int, _: object) -> None:
        interrupts.append(number)
        load.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return interrupts


def _show_progress(
    load: LoadRun, plan: LoadPlan, done: Future[None], interrupts: list[int]
) -> None:
    """A bar on a terminal's stderr until the run is done; the second Ctrl-C does not wait for it.

    Raises what the run raised.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("starting", total=1.0)
        while not concurrent.futures.wait([done], _REFRESH_S).done:
            shares = [load.elapsed_s / plan.duration_s] if plan.duration_s else []
            shares += [load.result.answered / plan.count] if plan.count else []
            progress.update(task, completed=max(shares), description=_status(load))
            if len(interrupts) > 1:
                done.cancel()
                return
    done.result()


def _status(load: LoadRun) -> str:
    """Where a run is, beside its bar."""
    result = load.result
    rate = result.latencies.count / load.elapsed_s if load.elapsed_s else 0.0
    text = f"{result.answered} invokes, {rate:,.0f}/s, {result.failed} failed"
    text += f", {result.throttles} throttled" if result.throttles else ""
    return f"{text}, stopping" if load.is_stopped else text
