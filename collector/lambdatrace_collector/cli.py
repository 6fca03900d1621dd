from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from lambdatrace_collector.errors import StartupError
from lambdatrace_collector.settings import parse_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

STARTUP_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the collector until it is told to stop; gives the exit status.

    A ready line goes to stdout, logs to stderr; what prevents the start is one line on stderr.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        settings = parse_settings(sys.argv[1:] if argv is None else argv)
        # Imported late: --help and a wrong URL need not load the engine.
        from lambdatrace_collector.server import run

        run(settings)
    except StartupError as error:
        print(f"lambdatrace collector: {error}", file=sys.stderr)  # noqa: T201 - for people
        return STARTUP_FAILED
    return 0
