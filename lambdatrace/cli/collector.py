"""`lambdatrace collector`: the collector's own program, which shares no code with this one."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

# What it imports, by the names of its packages in the extra.
MODULES = {
    "boto3": "boto3",
    "cbor2": "cbor2",
    "chdb-core": "chdb",
    "clickhouse-connect": "clickhouse_connect",
    "googleapis-common-protos": "google.rpc",
    "grpcio": "grpc",
    "httptools": "httptools",
    "lark": "lark",
    "opentelemetry-proto": "opentelemetry.proto",
    "urllib3": "urllib3",
    "uvicorn": "uvicorn",
}


def missing_packages() -> list[str]:
    """The packages that the collector needs and that are not installed."""
    return [package for package, module in MODULES.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False


def run_collector(arguments: list[str]) -> int:
    """Become the collector; returns, with a status, only if it is not installed."""
    missing = missing_packages()
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
