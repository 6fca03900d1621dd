"""`lambdatrace start`: a local Lambda API for functions of this folder."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from lambdatrace.harness import Function, Harness, InvocationFacts, LogEvent

WATCH_S = 0.5  # between two looks at the functions' files
PORT = 3001  # as `sam local start-lambda`
_TRACING = {"active": "Active", "passthrough": "PassThrough"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lambdatrace start`."""
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="+",
        help="a handler, as app.handler; the function is called app, or NAME with NAME=app.handler",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help="the Lambda API's; 0 takes a free one (default 3001)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)"
    )
    parser.add_argument(
        "--idle-timeout",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="shut an environment down that was not used for so long (default 600)",
    )
    parser.add_argument(
        "--aws-endpoint-url",
        default=os.environ.get("AWS_ENDPOINT_URL"),
        metavar="URL",
        help="where destinations and dead-letter queues are, as http://127.0.0.1:5000 of moto "
        "(default: $AWS_ENDPOINT_URL)",
    )
    parser.add_argument(
        "--x-ray-daemon",
        default=os.environ.get("AWS_XRAY_DAEMON_ADDRESS"),
        metavar="HOST:PORT",
        help="where the X-Ray segments of sampled invokes go "
        "(default: $AWS_XRAY_DAEMON_ADDRESS, or nowhere)",
    )
    parser.add_argument(
        "--platform-log-style",
        choices=["2025", "2023"],
        default="2025",
        help="how Lambda's own lines tell of failures: in REPORT, or, as before 2025 and still in "
        "some Regions, in a line of their own (default 2025)",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="deploy a function again when Python in its folder is made, changed or removed, or "
        "another file of a layer or of a folder below its own is changed or removed",
    )
    parser.add_argument(
        "--logs", action="store_true", help="print the functions' logs on standard error"
    )
    add_function_arguments(parser)


def add_event_arguments(parser: argparse.ArgumentParser) -> None:
    """What to invoke, and with what event."""
    parser.add_argument("target", metavar="TARGET", help="a handler, as app.handler")
    parser.add_argument(
        "-e",
        "--event",
        default="{}",
        metavar="FILE|JSON",
        help="the event: a file, JSON, or - for standard input (default {})",
    )


def add_function_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that describe functions, the same for every command that runs one."""
    parser.add_argument(
        "--collector",
        metavar="URL",
        help="where logs, metrics and traces go, as http://127.0.0.1:4318 of `lambdatrace "
        "collector` (default: nowhere)",
    )
    parser.add_argument(
        "--code-dir",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the functions' folder (default: this one)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=3.0,
        metavar="SECONDS",
        help="the longest an invoke may take (default 3)",
    )
    parser.add_argument(
        "--memory-size",
        type=int,
        default=128,
        metavar="MB",
        help="each function's memory; over it, it is killed (default 128)",
    )
    parser.add_argument(
        "--ephemeral-storage",
        type=int,
        default=512,
        metavar="MB",
        help="the size of each function's /tmp (default 512)",
    )
    parser.add_argument(
        "--max-concurrency",
        type=int,
        metavar="N",
        help="run as on Managed Instances: N invokes at a time in one environment, never frozen",
    )
    parser.add_argument(
        "--cpu-limit",
        action="store_true",
        help="give invokes the CPU time of their memory size as on AWS (1769 MB: one CPU)",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an environment variable of each function; may be repeated",
    )
    parser.add_argument(
        "--runtime",
        default="",
        help="what the functions run on, as python3.12: a Python of that version with awslambdaric "
        "on PATH or of pyenv (default: this Python)",
    )
    parser.add_argument(
        "--python",
        default="",
        metavar="PATH",
        help="run the functions on this interpreter, which needs awslambdaric (default: that of "
        "--runtime)",
    )
    parser.add_argument(
        "--layer",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="a layer's folder or zip file, seen as /opt; may be repeated",
    )
    parser.add_argument(
        "--tracing",
        choices=sorted(_TRACING),
        default="passthrough",
        help="X-Ray's mode: active samples by its default rule, passthrough as the caller says "
        "(default passthrough)",
    )
    parser.add_argument(
        "--log-format",
        choices=("Text", "JSON"),
        default="Text",
        help="the format of each function's log (default Text)",
    )
    parser.add_argument(
        "--region",
        default="us-east-1",
        help="where the functions believe to be (default us-east-1)",
    )


def functions(targets: list[str], arguments: argparse.Namespace) -> list[Function]:
    """The functions a command line describes. Raises FunctionConfigurationError."""
    from lambdatrace.harness import Function, FunctionConfigurationError, LoggingConfig
    from lambdatrace.harness.function import inspect_interpreter
    from lambdatrace.harness.target import check_handler, parse_target

    environment = {}
    for item in arguments.env:
        key, equals, value = item.partition("=")
        if not equals:
            raise FunctionConfigurationError(f"--env '{item}': expected KEY=VALUE")
        environment[key] = value
    managed: dict[str, Any] = {}
    if arguments.max_concurrency is not None:
        kind = "lambda-managed-instances"
        managed = {"initialization_type": kind, "max_concurrency": arguments.max_concurrency}
    found = []
    for target in map(parse_target, targets):
        function = Function(
            target.name,
            target.handler,
            code_dir=arguments.code_dir,
            timeout_s=arguments.timeout,
            memory_size_mb=arguments.memory_size,
            ephemeral_storage_mb=arguments.ephemeral_storage,
            environment=environment,
            runtime=arguments.runtime,
            python=arguments.python,
            layers=arguments.layer,
            tracing=_TRACING[arguments.tracing],
            logging_config=LoggingConfig(arguments.log_format),
            **managed,
        )
        if arguments.python and arguments.runtime:
            version = inspect_interpreter(function.python).version
            if arguments.runtime != f"python{version}":
                raise FunctionConfigurationError(
                    f"--python '{arguments.python}' is Python {version}, not {arguments.runtime}"
                )
        check_handler(function.handler, function.code_dir)
        found.append(function)
    return found


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT, then shuts the environments down. 0, or 1 for bad input."""
    from lambdatrace.harness import Harness, HarnessError
    from lambdatrace.harness.code_watch import CodeWatch

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        found = functions(arguments.targets, arguments)
        watch = CodeWatch(found) if arguments.watch else None
        harness = Harness(
            found,
            host=arguments.host,
            port=arguments.port,
            collector_url=arguments.collector,
            idle_timeout_s=arguments.idle_timeout,
            region=arguments.region,
            cpu_limit=arguments.cpu_limit,
            on_log=print_log if arguments.logs else None,
            on_executed=None if arguments.logs else print_failure,
            aws_endpoint_url=arguments.aws_endpoint_url,
            x_ray_daemon=arguments.x_ray_daemon,
            platform_log_style=arguments.platform_log_style,
        )
        with harness:
            for line in harness.unenforced:
                print(f"not enforced on this machine: {line}", file=sys.stderr)  # noqa: T201
            names = ", ".join(harness.names)
            print(f"Lambda API on {harness.endpoint_url}: {names}", flush=True)  # noqa: T201 - a program
            print_usage(harness, arguments)
            while not stopped.wait(WATCH_S if watch else None):
                if watch:
                    deploy_again(harness, watch.changed())
    except (HarnessError, OSError) as error:
        print(f"lambdatrace start: {error}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    return 0


def print_usage(harness: Harness, arguments: argparse.Namespace) -> None:
    """Writes to stderr how the functions are invoked and where their logs are."""
    command = f"aws --endpoint-url {harness.endpoint_url} --region {arguments.region}"
    name = harness.names[0]
    lines = [f"invoke: {command} --no-sign-request lambda invoke --function-name {name} out.json"]
    if arguments.collector:
        lines.append(f"logs: /aws/lambda/{name} of the collector at {arguments.collector}")
    elif not arguments.logs:
        lines.append("logs: nowhere; --logs prints them here, --collector URL keeps them")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def print_failure(facts: InvocationFacts) -> None:
    """Writes to stderr that an invoke has failed, as its log is not shown."""
    if facts.is_error:
        sys.stderr.write(f"{facts.function_name}: invoke {facts.request_id} failed\n")


def deploy_again(harness: Harness, names: list[str]) -> None:
    """Deploys functions whose code has changed; one that cannot be goes on as it was."""
    from lambdatrace.harness import HarnessError

    for name in names:
        try:
            harness.deploy_again(name)
        except (HarnessError, OSError) as error:
            print(f"{name}: its code has changed, but {error}", file=sys.stderr)  # noqa: T201
        else:
            print(f"{name}: its code has changed, deployed again", file=sys.stderr)  # noqa: T201


def print_log(_: str, event: LogEvent) -> None:
    """Writes one log event to stderr as a function's terminal would show it."""
    sys.stderr.write(event.message if event.message.endswith("\n") else f"{event.message}\n")
