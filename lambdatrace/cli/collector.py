"""`lambdatrace collector`: the collector's own program, which shares no code with this one."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec


def run_collector(arguments: list[str]) -> int:
    """Become the collector; returns, with a status, only if it is not installed."""
    missing = [name for name in ("chdb", "clickhouse_connect", "uvicorn") if not find_spec(name)]
    if missing:
        sys.stderr.write(
            f"lambdatrace collector needs {', '.join(missing)}: "
            "pip install 'lambdatrace[collector]'\n"
        )
        return 1
    # No process in between: signals reach the collector, and its status is ours.
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "lambdatrace_collector", *arguments]
    return os.execv(command[0], command)  # noqa: S606 - no shell is wanted
