"""The `lambdatrace` program: one module per command, loaded when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import sys

from lambdatrace import __version__

# command → what it does; `lambdatrace.cli.COMMAND` has `add_arguments` and `run`.
COMMANDS = {
    "demo": "run a small shop on a local Lambda and show its traces, logs and metrics",
    "start": "serve functions on a local Lambda API",
    "invoke": "invoke a function once, on a local Lambda",
    "load": "invoke a function many times, on a local Lambda, and show latencies, errors and cost",
    "collector": "receive OTLP, CloudWatch metrics and logs, and answer the AWS APIs",
    "coldstart": "show what a function's init is spent on, and what could be imported later",
    "layer": "write the Lambda layer",
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
    parser = argparse.ArgumentParser(prog="lambdatrace", description=__doc__)
    parser.add_argument("--version", action="version", version=f"lambdatrace {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in argv if word in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
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


def _missing(command: str, error: ImportError) -> int:
    if (error.name or "").startswith("lambdatrace"):
        raise error
    extra = EXTRAS.get(command, "all")
    sys.stderr.write(
        f"lambdatrace {command} needs {error.name}: pip install 'lambdatrace[{extra}]'\n"
    )
    return 1
