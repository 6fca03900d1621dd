"""The `lambdatrace` program: one module per command, loaded when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NoReturn

from lambdatrace import __version__

# command → what it does; `lambdatrace.cli.COMMAND` has `add_arguments` and `run`.
COMMANDS = {
    "demo": "run a small shop on a local Lambda and show its traces, logs and metrics",
    "start": "serve functions on a local Lambda API",
    "invoke": "invoke a function once, on a local Lambda",
    "load": "invoke a function many times, on a local Lambda, and show latencies, errors and cost",
    "collector": "receive OTLP, CloudWatch metrics and logs, and answer the AWS APIs",
    "coldstart": "show what a function's init is spent on, and what could be imported later",
    "layer": "build the Lambda layer, and publish it",
}

# Commands that do something, shown below a command's options.
EXAMPLES = {
    "demo": "lambdatrace demo\nlambdatrace demo --keep --folder ./demo",
    "start": """\
lambdatrace start app.handler
lambdatrace start orders=app.orders payments=app.payments --env STAGE=test --logs
lambdatrace start app.handler --collector http://127.0.0.1:4318 --memory-size 512 --timeout 10
aws --endpoint-url http://127.0.0.1:3001 --region us-east-1 --no-sign-request \
lambda invoke --function-name app out.json""",
    "invoke": """\
lambdatrace invoke app.handler -e '{"id": 7}'
lambdatrace invoke app.handler -e event.json --env OTEL_TRACES_EXPORTER=console
echo '{"id": 7}' | lambdatrace invoke app.handler -e - --code-dir src""",
    "load": """\
lambdatrace load app.handler --concurrency 8 --count 1000
lambdatrace load app.handler --rate 50 --ramp 5 --duration 30 --json""",
    "coldstart": """\
lambdatrace coldstart app.handler
lambdatrace coldstart app.handler --code-dir src --runs 10 --html flame.html""",
    "layer": """\
lambdatrace layer build --runtime python3.13
lambdatrace layer build --runtime python3.13 --with otel --architecture arm64 -o otel.zip
lambdatrace layer publish --runtime python3.13 --region eu-west-1""",
}

# The extra that brings what a command needs.
EXTRAS = {
    "demo": "harness,collector",
    "start": "harness",
    "invoke": "harness",
    "load": "harness",
    "coldstart": "harness",
    "collector": "collector",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["collector"]:
        # Its arguments are its own: the collector is another program, in another process.
        from lambdatrace.cli.collector import run_collector

        return run_collector(argv[1:])
    parser = _Parser(
        prog="lambdatrace",
        description="Tracing, metrics and cold-start timing for Python on AWS Lambda: a local "
        "Lambda, a collector, and what builds the layer.",
        epilog="`lambdatrace COMMAND --help` has a command's options, their defaults and examples.",
    )
    parser.add_argument("--version", action="version", version=f"lambdatrace {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=examples(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            try:
                module = importlib.import_module(f"lambdatrace.cli.{name}")
            except ImportError as error:
                return _missing(name, error)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ImportError as error:
        return _missing(arguments.command, error)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with an argument in one line, and not all that there are."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with argparse's exit status for it."""
        self.exit(2, f"{self.prog}: {message}\n")


def examples(command: str) -> str:
    """What stands below the options of `command`."""
    lines = EXAMPLES.get(command, "").splitlines()
    return "examples:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""


def _missing(command: str, error: ImportError) -> int:
    if (error.name or "").startswith("lambdatrace"):
        raise error
    extra = EXTRAS.get(command, "all")
    sys.stderr.write(
        f"lambdatrace {command} needs {error.name}: pip install 'lambdatrace[{extra}]'\n"
    )
    return 1
