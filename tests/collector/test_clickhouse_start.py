"""How the collector opens a ClickHouse server that asks for a password or forbids something.

Users, profiles and constraints are a real engine's; see `test_clickhouse_server.py`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest

from lambdatrace_collector.errors import StoreConnectionError, StoreVersionError
from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.readiness import Readiness
from lambdatrace_collector.store.url import parse_store_url
from tests.collector.conftest import USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace_collector.store.engine import Store
    from tests.collector.conftest import ClickHouse


CONFIG = "<clickhouse><users_config>{}</users_config></clickhouse>"
USERS = """
<clickhouse>
  <profiles><default>{profile}</default></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    {rights}
  </default></users>
</clickhouse>
"""
# FILE is what the tests' server needs to hand the engine the data of an INSERT.
RIGHTS_IN_ONE_DATABASE = """
    <grants>
      <query>GRANT ALL ON lambdatrace.*</query>
      <query>GRANT FILE ON *.*</query>
    </grants>
"""
FIXED_LIMITS = """
    <max_memory_usage>500000000</max_memory_usage>
    <max_threads>1</max_threads>
    <constraints>
      <max_memory_usage><const/></max_memory_usage>
      <optimize_on_insert><const/></optimize_on_insert>
    </constraints>
"""


def start_restricted(server: ClickHouse, *, profile: str = "", rights: str = "") -> None:
    """Start the server with a user that may do less, as an administrator configures it."""
    server.folder.mkdir(exist_ok=True)
    users = server.folder / "users.xml"
    users.write_text(USERS.format(profile=profile, rights=rights))
    server.config_file = server.folder / "clickhouse.xml"
    server.config_file.write_text(CONFIG.format(users))
    server.start()


def opening_fails(url: str) -> str:
    with pytest.raises(StoreConnectionError) as refused:
        open_store(parse_store_url(url))
    return str(refused.value)


def test_a_wrong_password_is_one_line_without_the_password(clickhouse: ClickHouse) -> None:
    assert opening_fails(clickhouse.url_for("secret")) == (
        f"--store clickhouse://{USER}@127.0.0.1:{clickhouse.port}/lambdatrace does not open:"
        f" Code: 516. DB::Exception: {USER}: Authentication failed: password is incorrect, or there"
        " is no user with such name. (AUTHENTICATION_FAILED)"
    )


def test_limits_that_are_fixed_and_rights_in_one_database_are_enough(
    own_clickhouse: ClickHouse, open_on: Callable[[ClickHouse], Store]
) -> None:
    own_clickhouse.start()
    open_on(own_clickhouse)  # makes the database, as an administrator would
    own_clickhouse.end()
    start_restricted(own_clickhouse, profile=FIXED_LIMITS, rights=RIGHTS_IN_ONE_DATABASE)
    store = open_on(own_clickhouse)
    group = {"account": "1", "region": "r", "log_group": "g"}

    async def write_and_read() -> list[dict[str, Any]]:
        row = {**group, "creation_ms": 1, "log_group_class": "STANDARD"}
        await store.insert("log_groups", json.dumps(row).encode(), "JSONEachRow")
        return await store.query("log_group", **group)

    assert len(asyncio.run(write_and_read())) == 1


@pytest.mark.parametrize(
    ("profile", "rights", "reason"),
    [
        pytest.param(
            "<constraints><max_execution_time><max>10</max></max_execution_time></constraints>",
            "",
            " does not open: Code: 452. DB::Exception: Setting max_execution_time shouldn't be"
            " greater than 10. (SETTING_CONSTRAINT_VIOLATION)",
            id="a deadline below ours",
        ),
        pytest.param(
            "<constraints><format_schema><const/></format_schema></constraints>",
            "",
            ": the server does not let this user change the setting format_schema: take the"
            " constraint from the user's profile",
            id="no schemas of our own",
        ),
        pytest.param(
            "<async_insert>1</async_insert>"
            "<constraints><async_insert><const/></async_insert></constraints>",
            "",
            ": the server does not let this user change the setting async_insert: take the"
            " constraint from the user's profile",
            id="answers before it has written",
        ),
        pytest.param(
            "<readonly>2</readonly>",
            "",
            " does not open: Code: 164. DB::Exception: default: Cannot execute query in readonly"
            " mode. (READONLY)",
            id="a user that reads only",
        ),
        pytest.param(
            "",
            RIGHTS_IN_ONE_DATABASE.replace("GRANT ALL", "GRANT SELECT"),
            " does not open: Code: 497. DB::Exception: default: Not enough privileges. To execute"
            " this query, it's necessary to have the grant CREATE DATABASE ON lambdatrace.*."
            " (ACCESS_DENIED)",
            id="no database and no right to make it",
        ),
    ],
)
def test_a_server_that_cannot_be_worked_with_is_one_line_at_start(
    own_clickhouse: ClickHouse, profile: str, rights: str, reason: str
) -> None:
    start_restricted(own_clickhouse, profile=profile, rights=rights)
    where = f"--store clickhouse://{USER}@127.0.0.1:{own_clickhouse.port}/lambdatrace"
    assert opening_fails(own_clickhouse.url) == where + reason


@pytest.mark.parametrize("digest", ["", "digest String DEFAULT 'of others',"])
def test_a_store_with_tables_of_another_collector_is_refused_and_left_as_it_is(
    clickhouse: ClickHouse, unique: str, digest: str
) -> None:
    # As collectors made it before digests were kept, or from other statements than ours.
    database = unique.replace("-", "_")
    url = clickhouse.url.replace("/lambdatrace", f"/{database}")
    dsn = clickhouse.url.replace("clickhouse:", "http:")
    client: Any = clickhouse_connect.get_client(dsn=dsn, database="system")
    client.command(f"CREATE DATABASE {database}")
    client.command(
        f"CREATE TABLE {database}.schema_versions (version UInt32, name String, {digest}"
        " applied DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY version"
    )
    client.command(f"INSERT INTO {database}.schema_versions (version, name) VALUES (1, 'x')")
    for _ in range(2):  # to be refused once must not make its tables ours
        with pytest.raises(StoreVersionError) as refused:
            open_store(parse_store_url(url))
        assert str(refused.value) == (
            f"--store {parse_store_url(url).shown} has other tables than this collector"
            " (0001_traces.sql has changed since it was applied): use the collector that made"
            " them, or another database"
        )
    rows = client.query(f"SELECT version, name FROM {database}.schema_versions").result_rows
    tables = client.query(f"SHOW TABLES FROM {database}").result_rows
    client.close()
    assert (rows, tables) == ([(1, "x")], [("schema_versions",)])


def test_a_store_opens_again_after_it_was_asked_whether_it_takes_rows(
    clickhouse: ClickHouse,
) -> None:
    store = open_store(parse_store_url(clickhouse.url))
    asyncio.run(Readiness(store).require())  # writes the newest schema version once more
    store.close()
    open_store(parse_store_url(clickhouse.url)).close()
