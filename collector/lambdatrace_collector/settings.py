from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lambdatrace_collector.store.url import StoreUrl, parse_store_url

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT_MAX = 65535
HTTP_DEFAULT = "127.0.0.1:4318"
GRPC_DEFAULT = "127.0.0.1:4317"
STORE_DEFAULT = "chdb://.lambdatrace"


@dataclass(frozen=True)
class Settings:
    """What the collector is started with."""

    store: StoreUrl
    http_host: str
    http_port: int  # 0: a free one
    grpc: tuple[str, int] | None = None  # host and port of OTLP/gRPC; None: no listener


def parse_settings(argv: Sequence[str]) -> Settings:
    """The settings of a command line.

    Raises StoreUrlError; what argparse refuses ends the process with status 2.
    """
    parser = argparse.ArgumentParser(
        prog="lambdatrace collector",
        description="Receives traces, logs and metrics, stores them and answers for them.",
    )
    parser.add_argument(
        "--store",
        default=STORE_DEFAULT,
        metavar="URL",
        help=f"chdb://FOLDER or clickhouse://HOST[:PORT]/DATABASE (default {STORE_DEFAULT})",
    )
    parser.add_argument(
        "--http",
        default=HTTP_DEFAULT,
        type=_address,
        metavar="HOST:PORT",
        help=f"OTLP/HTTP and the AWS APIs; port 0 takes a free one (default {HTTP_DEFAULT})",
    )
    _add_listener(parser, "grpc", GRPC_DEFAULT, "OTLP/gRPC")
    parser.add_argument(
        "--no-xray",
        action="store_true",
        help="changes nothing yet: this version has no listener for X-Ray segments",
    )
    options = parser.parse_args(argv)
    host, port = options.http
    return Settings(parse_store_url(options.store), host, port, options.grpc)


def _add_listener(parser: argparse.ArgumentParser, name: str, default: str, receives: str) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        f"--{name}",
        default=default,
        type=_address,
        metavar="HOST:PORT",
        help=f"{receives}; port 0 takes a free one (default {default})",
    )
    choice.add_argument(
        f"--no-{name}", action="store_const", const=None, dest=name, help=f"no --{name} listener"
    )


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, such as {HTTP_DEFAULT}")
    return host, int(port)
