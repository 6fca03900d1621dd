"""A clickhouse-connect client of the store: how it connects, and which settings it may send.

The embedded engine is ours alone. A server is shared, and it is reached over HTTP: its
administrator fixes settings and rights, each statement is a request of its own, and the request's
parameters are form fields of bounded length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

from lambdatrace_collector.errors import StoreConnectionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.store.url import StoreUrl

QUERY_DEADLINE_S = 30
INSERT_DEADLINE_S = 60
COMMAND_DEADLINE_S = 600
CONNECT_DEADLINE_S = 5
# The server ends a statement at its own deadline; only a server that is gone reaches this one.
ANSWER_DEADLINE_S = INSERT_DEADLINE_S + 10

# The embedded engine sizes itself for a machine of its own; here it shares one with the code it
# observes. The whole process stays below 1.2 GB: 280 MB of code and Python, the rest is this.
EMBEDDED_OPTIONS = {
    "max_server_memory_usage": 700_000_000,
    "mark_cache_size": 32_000_000,
    "primary_index_cache_size": 32_000_000,
    "index_mark_cache_size": 8_000_000,
    "query_condition_cache_size": 8_000_000,
    "compiled_expression_cache_size": 16_000_000,
    "background_pool_size": 2,
}
QUERY_SETTINGS = {
    "max_execution_time": QUERY_DEADLINE_S,
    "max_memory_usage": 300_000_000,
    "max_bytes_before_external_group_by": 100_000_000,  # to disk before the limit, not an error
    "max_bytes_before_external_sort": 100_000_000,
}
INSERT_SETTINGS = {
    "max_execution_time": INSERT_DEADLINE_S,
    "async_insert": 0,  # we group ourselves; acknowledged means written
    # Replacing rows in each new part costs a third of the INSERT, and readers use FINAL anyway.
    "optimize_on_insert": 0,
    # A view is planned anew for each INSERT; unnesting leaves nothing to optimize: 10 ms less.
    "query_plan_enable_optimizations": 0,
    # Two INSERTs side by side use two cores better than one on two: 5.4 against 7.2 µs per span.
    "max_threads": 1,
    "max_insert_threads": 1,
    # Cutting lines into chunks for other threads: 24 against 20 ms for 16,000 log events.
    "input_format_parallel_parsing": 0,
}
COMMAND_SETTINGS = {
    **QUERY_SETTINGS,
    "max_execution_time": COMMAND_DEADLINE_S,
    "max_threads": 1,  # nobody waits for it: the other core is for those who do
    "mutations_sync": 1,
}
# Without these nothing can be written; a server that lacks one, or fixes it, is refused at start.
NEEDED_SETTINGS = ("format_schema_source", "format_schema", "format_schema_message_name")

_UNKNOWN_DATABASE = 81


def connect(url: StoreUrl) -> Any:
    """A client of the store's database. Raises clickhouse-connect's errors."""
    return _connect(url, url.database)


def connect_first(url: StoreUrl) -> Any:
    """As `connect`; makes the database where it is missing, and asks whether the server will do.

    Raises StoreConnectionError for a server whose settings we cannot work with.
    """
    try:
        client = connect(url)
    except DatabaseError as error:
        if error.code != _UNKNOWN_DATABASE:
            raise
        # Only now: CREATE DATABASE IF NOT EXISTS needs a right that the user of a database made
        # for it need not have, whether the database exists or not.
        _create_database(url)
        client = connect(url)
    try:
        _require_settings(url, client)
    except BaseException:
        client.close()
        raise
    return client


def permitted(settings: Mapping[str, Any], server_settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` without those that the server's administrator fixed for our user.

    They are limits and economies: the server's own value is the administrator's choice, where
    sending ours would fail every statement. `async_insert` stays, see `_require_settings`.
    """
    return {
        name: value
        for name, value in settings.items()
        if name == "async_insert"
        or name not in server_settings
        or not server_settings[name].readonly
    }


def _connect(url: StoreUrl, database: str | None) -> Any:
    if url.is_embedded:
        return clickhouse_connect.get_client(
            dsn=url.dsn, database=database, chdb_options=EMBEDDED_OPTIONS
        )
    client: Any = clickhouse_connect.get_client(
        dsn=url.dsn,
        database=database,
        connect_timeout=CONNECT_DEADLINE_S,
        send_receive_timeout=ANSWER_DEADLINE_S,
        # A server locks a session while a statement of it runs: one whose connection broke would
        # fail all that follow with SESSION_IS_LOCKED until it ended, and we keep nothing in it.
        autogenerate_session_id=False,
    )
    # urllib3 logs each try that it repeats with the request's URL, which holds what users asked
    # for; a connection that the server closed between statements is tried again without it.
    client.http_retries = 0
    return client


def _create_database(url: StoreUrl) -> None:
    client = _connect(url, None)  # the user's own default, which need not be `default`
    try:
        client.command(f"CREATE DATABASE IF NOT EXISTS `{url.database}`")
    finally:
        client.close()


def _require_settings(url: StoreUrl, client: Any) -> None:
    server_settings = client.server_settings
    for name in NEEDED_SETTINGS:
        if name not in server_settings:
            raise StoreConnectionError(
                f"--store {url.shown}: ClickHouse {client.server_version} does not know the setting"
                f" {name}: use a newer server"
            )
        if server_settings[name].readonly:
            raise StoreConnectionError(_fixed(url, name))
    async_insert = server_settings.get("async_insert")
    if async_insert is not None and async_insert.readonly and async_insert.value != "0":
        raise StoreConnectionError(_fixed(url, "async_insert"))
    # A constraint on a setting's range is told by the server alone, when the setting is sent.
    for settings in (QUERY_SETTINGS, INSERT_SETTINGS):
        client.query("SELECT 1", settings=permitted(settings, server_settings))


def _fixed(url: StoreUrl, name: str) -> str:
    return (
        f"--store {url.shown}: the server does not let this user change the setting {name}:"
        " take the constraint from the user's profile"
    )
