"""How the collector opens a ClickHouse server that asks for a password or forbids something.

Users, profiles and constraints are a real engine's; see `test_clickhouse_server.py`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace_collector.errors import StoreConnectionError
from lambdatrace_collector.store.engine import open_store
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
