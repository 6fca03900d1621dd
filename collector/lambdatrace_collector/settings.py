from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lambdatrace_collector.store.url import StoreUrl, parse_store_url

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT_MAX = 65535
HTTP_DEFAULT = "127.0.0.1:4318"
GRPC_DEFAULT = "127.0.0.1:4317"
XRAY_DEFAULT = "127.0.0.1:2000"
STORE_DEFAULT = "chdb://.lambdatrace"


@dataclass(frozen=True)
class Settings:
    """What the collector is started with."""

    store: StoreUrl
    http_host: str
    http_port: int  # 0: a free one
    grpc: tuple[str, int] | None = None  # host and port of OTLP/gRPC; None: no listener
    xray: tuple[str, int] | None = None  # host and port of the X-Ray daemon's protocol
    aws_endpoint: str | None = None  # where deliveries go, such as those of subscription filters
    allow_reset: bool = False


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
    _add_listener(parser, "xray", XRAY_DEFAULT, "what the X-Ray daemon takes, by UDP and TCP")
    parser.add_argument(
        "--aws-endpoint",
        type=_endpoint,
        metavar="URL",
        help="the Lambda, Kinesis and Firehose APIs that subscription filters deliver to, such as"
        " http://127.0.0.1:3001 of `lambdatrace start` (default: none, and nothing is delivered)",
    )
    parser.add_argument(
        "--allow-reset",
        action="store_true",
        help="let POST /_lambdatrace/reset delete all that is stored, for test suites",
    )
    options = parser.parse_args(argv)
    host, port = options.http
    return Settings(
        store=parse_store_url(options.store),
        http_host=host,
        http_port=port,
        grpc=options.grpc,
        xray=options.xray,
        aws_endpoint=options.aws_endpoint,
        allow_reset=options.allow_reset,
    )


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


def _endpoint(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise argparse.ArgumentTypeError(f"{text!r}: expected http://HOST:PORT")
    return text.rstrip("/")


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, such as {HTTP_DEFAULT}")
    return host, int(port)
