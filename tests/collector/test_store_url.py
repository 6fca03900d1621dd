from __future__ import annotations

from pathlib import Path

import pytest

from lambdatrace_collector.cli import STARTUP_FAILED, main
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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clickhouse://u:s3cret@h:999999/db", "clickhouse://u:***@h:999999/db"),
        ("clickhouse://u:s3cret@h:port/db", "clickhouse://u:***@h:port/db"),
        ("clickhouse://u:s3cret@h/my-db", "clickhouse://u:***@h/my-db"),
        ("clickhouse://u:s3cret@/db", "clickhouse://u:***@/db"),
        ("clickhouse://u:s3cret@[::1/db", "clickhouse://u:***@[::1/db"),
        ("clickhouse://u:s3cret@h\u2100/db", "clickhouse://u:***@h\u2100/db"),
        ("clickhouse://u:s3/cr@et@h/db", "clickhouse://u:***@h/db"),
        ("clickhouse://h/my-db?password=s3cret", "clickhouse://h/my-db?***"),
        ("postgres://u:s3cret@h/db", "postgres://u:***@h/db"),
        ("clickhouse:/u:s3cret@h/db", "clickhouse:***@h/db"),
        ("u:s3cret@h", "u:***@h"),
        ("clickhouse://u:1/s3@cret@h/db", "clickhouse://u:***@h/db"),
        ("clickhouse://u:1://s3cret@h:port/db", "clickhouse://u:***@h:port/db"),
        ("clickhouse://u@h/my-db", "clickhouse://u@h/my-db"),
    ],
)
def test_a_refused_url_is_shown_without_its_password(
    text: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--store", text]) == STARTUP_FAILED
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"lambdatrace collector: --store is {shown!r}: ")
    assert "s3" not in printed.err


def test_no_password_is_in_what_a_trace_or_a_log_shows_of_the_settings() -> None:
    settings = parse_settings(["--store", "clickhouse://u:s3cret@h:9/db"])
    assert settings.store.shown == "clickhouse://u@h:9/db"
    assert "s3cret" not in repr(settings)


def test_the_defaults_are_the_local_folder_and_loopback() -> None:
    settings = parse_settings(["--no-grpc", "--no-xray"])
    assert settings.store.folder == Path.cwd() / ".lambdatrace"
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 4318)


def test_an_address_may_be_ipv6() -> None:
    settings = parse_settings(["--http", "[::1]:0"])
    assert (settings.http_host, settings.http_port) == ("::1", 0)


def test_the_listeners_are_on_loopback_unless_they_are_moved_or_left_out() -> None:
    assert parse_settings([]).grpc == ("127.0.0.1", 4317)
    assert parse_settings(["--grpc", "[::1]:0"]).grpc == ("::1", 0)
    assert parse_settings(["--no-grpc"]).grpc is None
    assert parse_settings([]).xray == ("127.0.0.1", 2000)
    assert parse_settings(["--xray", "0.0.0.0:0"]).xray == ("0.0.0.0", 0)
    assert parse_settings(["--no-xray"]).xray is None
