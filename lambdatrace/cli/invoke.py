"""`lambdatrace invoke`: one invoke of one function, on a harness that lives as long as it takes."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.cli.start import add_event_arguments, add_function_arguments, functions, print_log

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lambdatrace invoke`."""
    add_event_arguments(parser)
    add_function_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints the response on stdout, all else on stderr. 0, or 1 for a failed function or input."""
    from lambdatrace.harness import Harness, HarnessError

    try:
        event = read_event(arguments.event)
        [function] = functions([arguments.target], arguments)
        with Harness(
            [function],
            collector_url=arguments.collector,
            region=arguments.region,
            cpu_limit=arguments.cpu_limit,
            on_log=print_log,
        ) as harness:
            result = harness.invoke(function.name, event)
            harness.wait_frozen(function.name, function.timeout_s + 10)
    except (HarnessError, OSError) as error:
        print(f"lambdatrace invoke: {error}", file=sys.stderr)  # noqa: T201 - a program
        return 1
    sys.stderr.flush()
    sys.stdout.write(result.payload.decode("utf-8", "replace") + "\n")
    return 1 if result.function_error else 0


def read_event(text: str) -> bytes:
    """The event: a file's content, standard input for `-`, else the text itself.

    What is JSON and names a file as well, as `1` may, is the file. Raises HarnessSettingsError if
    `text` is no file and not JSON, OSError if a file is unreadable.
    """
    from lambdatrace.harness.errors import HarnessSettingsError

    if text == "-":
        return sys.stdin.buffer.read()
    if _is_file(text):
        return Path(text).read_bytes()
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HarnessSettingsError(f"event '{text}': no such file, and not JSON: {error}") from None
    return text.encode()


def _is_file(text: str) -> bool:
    # A device or a pipe counts, as of the shell's <(…). Text that no path can be (too long, with
    # a NUL) is none: how long a path may be is the file system's own.
    try:
        return not stat.S_ISDIR(Path(text).stat().st_mode)
    except (OSError, ValueError):
        return False
