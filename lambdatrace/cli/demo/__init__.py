"""`lambdatrace demo`: a small shop on a local Lambda, seen through the collector."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lambdatrace.cli.collector import missing_packages
from lambdatrace.cli.demo import report, scenario
from lambdatrace.cli.demo.collector_process import CollectorProcess, CollectorStartError
from lambdatrace.cli.demo.scenario import UnexpectedResultError
from lambdatrace.cli.demo.stored import Stored
from lambdatrace.harness import Harness, HarnessError

if TYPE_CHECKING:
    import argparse

# With --keep, the ports where the tools look by default; else any free one.
COLLECTOR_PORT, LAMBDA_PORT = 4318, 3001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="keep the collector's store and log here (default: a temporary folder, removed)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave collector and Lambda running, and say how to reach them, until Ctrl-C",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the shop, show what came of it; the exit status."""
    missing = missing_packages()
    if missing:
        # The collector is a process of its own, which would say it in its log.
        sys.stderr.write(
            f"lambdatrace demo needs {', '.join(missing)}: "
            "pip install 'lambdatrace[harness,collector]'\n"
        )
        return 1
    console = Console()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with ExitStack() as stack:
            folder = arguments.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory("-lambdatrace")))
            folder.mkdir(parents=True, exist_ok=True)
            _run(console, stack, folder.absolute(), keep=arguments.keep)
    except (CollectorStartError, HarnessError, UnexpectedResultError, OSError) as error:
        sys.stderr.write(f"lambdatrace demo: {error}\n")
        return 1
    except _EndedError as ended:
        return 128 + ended.number  # as shells give for a program ended by a signal
    return 0


class _EndedError(BaseException):
    """A signal ends the demo; whatever it was doing, what it started goes on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, _: object) -> None:
    # A second signal must not interrupt the taking down, which has deadlines of its own.
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise _EndedError(number)


def _run(console: Console, stack: ExitStack, folder: Path, *, keep: bool) -> None:
    since_ms = int(time.time() * 1000)
    with console.status("starting the collector (chDB)") as status:
        http = f"127.0.0.1:{COLLECTOR_PORT if keep else 0}"
        collector = stack.enter_context(
            CollectorProcess(folder / "store", http, folder / "collector.log")
        )
        console.print(f"collector at {collector.url}, store {folder / 'store'}")
        status.update("starting the local Lambda")
        harness = stack.enter_context(
            Harness(
                scenario.functions(),
                port=LAMBDA_PORT if keep else 0,
                collector_url=collector.url,
            )
        )
        console.print(f"Lambda API at {harness.endpoint_url}")
        steps = []
        for step in scenario.run(harness, status.update):
            console.print(f"  {step.title}: {step.outcome}", highlight=False, markup=False)
            steps.append(step)
        status.update("waiting until all is stored")
        functions = [function.name for function in scenario.functions()]
        for name in functions:
            harness.wait_frozen(name)
        is_all_stored = harness.flush()
    report.show(console, Stored(collector.url, since_ms), steps, functions)
    if not is_all_stored:
        console.print("[red]The figures are too low:[/] not all logs and metrics were delivered.")
    _show_where(console, collector.url, harness.endpoint_url, steps[0].trace_id, keep=keep)
    if keep:
        with contextlib.suppress(_EndedError):
            console.print("\nRunning until Ctrl-C.")
            threading.Event().wait()


def _show_where(
    console: Console, collector_url: str, lambda_url: str, trace_id: str, *, keep: bool
) -> None:
    console.rule("Where to look")
    if not keep:
        console.print(
            "lambdatrace demo --keep leaves all of this running and says how to reach it."
        )
        return
    of_collector = f"aws --endpoint-url {collector_url}"
    group = "--log-group-name /aws/lambda/orders"
    # Read from a file, the payload is the same to both versions of the AWS CLI.
    event = """echo '{"amount": 5}'"""
    invoke = "lambda invoke --function-name payments --payload fileb:///dev/stdin out.json"
    for line in (
        "export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_DEFAULT_REGION=us-east-1",
        f"curl {collector_url}/api/v3/traces/{trace_id}",
        f"{of_collector} logs filter-log-events {group} --filter-pattern REPORT",
        f"{of_collector} cloudwatch list-metrics --namespace Shop",
        f"{event} | aws --endpoint-url {lambda_url} {invoke}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
