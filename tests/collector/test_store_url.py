from __future__ import annotations

from pathlib import Path

import pytest

from lambdatrace_collector.errors import StoreUrlError
from lambdatrace_collector.settings import parse_settings
from lambdatrace_collector.store.url import StoreUrl, parse_store_url


def test_a_folder_may_be_relative_or_absolute() -> None:
    here = Path.cwd()
    relative, absolute = parse_store_url("chdb://data"), parse_store_url("chdb:///var/x")
    assert relative == StoreUrl(
        "chdb://data", here / "data", f"chdb://{here}/data/engine", "lambdatrace"
    )
    assert absolute.folder == Path("/var/x")
    assert absolute.shown == "chdb:///var/x"


@pytest.mark.parametrize(
    ("text", "dsn", "database", "shown"),
    [
        (
            "clickhouse://db.example",
            "http://db.example:8123/",
            "lambdatrace",
            "clickhouse://db.example/lambdatrace",
        ),
        (
            "clickhouse://me:s3cret@db.example:9123/traces",
            "http://me:s3cret@db.example:9123/",
            "traces",
            "clickhouse://me@db.example:9123/traces",
        ),
        (
            "clickhouses://[::1]/traces",
            "https://[::1]:8443/",
            "traces",
            "clickhouses://::1/traces",
        ),
    ],
)
def test_a_server_is_reached_over_its_http_interface(
    text: str, dsn: str, database: str, shown: str
) -> None:
    url = parse_store_url(text)
    assert (url.dsn, url.database, url.shown) == (dsn, database, shown)
    assert not url.is_embedded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data",
        "chdb://",
        "chdb://a?b=c",
        "postgres://x/y",
        "clickhouse://",
        "clickhouse://h:port/db",
        "clickhouse://h/a-b",
        "clickhouse://h/a/b",
    ],
)
def test_another_url_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(StoreUrlError, match=r"^--store is .*expected|^--store is .*missing|port"):
        parse_store_url(text)


def test_the_defaults_are_the_local_folder_and_loopback() -> None:
    settings = parse_settings(["--no-grpc", "--no-xray"])
    assert settings.store.folder == Path.cwd() / ".lambdatrace"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 4318)


def test_an_address_may_be_ipv6() -> None:
    settings = parse_settings(["--http", "[::1]:0"])
    assert (settings.http_host, settings.http_port) == ("::1", 0)
