from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import boto3
import pytest
from botocore.config import Config

from lambdatrace_collector.store.engine import open_store
from lambdatrace_collector.store.url import parse_store_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lambdatrace_collector.store.engine import Store

START_DEADLINE_S = 60
STOP_DEADLINE_S = 60
STORE_VARIABLE = "LAMBDATRACE_TEST_STORE"
CLICKHOUSE_SERVER = Path(__file__).with_name("clickhouse_server.py")
USER, PASSWORD = "collector", "p@ss:w/rd %"


@dataclass
class Answer:
    """An HTTP response, whatever its status."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)


@dataclass
class Collector:
    """A collector process and how to talk to it."""

    process: subprocess.Popen[str]
    url: str
    ready_line: str

    def address(self, name: str) -> str:
        """HOST:PORT of one of its other listeners, as the ready line has it."""
        found = re.search(rf"{name} at ([^\s,]+)", self.ready_line)
        assert found is not None, self.ready_line
        return found[1]

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return send("POST", self.url + path, body, headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return send("GET", self.url + path, None, headers or {})

    def client(self, service: str, region: str = "eu-west-1") -> Any:
        """An unmodified boto3 client of the collector."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def stop(self) -> str:
        """Stop as a user does; gives what was logged."""
        self.process.send_signal(signal.SIGTERM)
        _, logged = self.process.communicate(timeout=STOP_DEADLINE_S)
        return logged


def send(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    request = urllib.request.Request(url, body, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, response.read(), dict(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read(), dict(error.headers))


def start(store: Path | str, *arguments: str) -> Collector:
    """A collector on a folder or a store's URL, once it is ready."""
    url = store if isinstance(store, str) else f"chdb://{store}"
    # Their default ports are free for one collector on a machine.
    others = [f"--no-{name}" for name in ("grpc", "xray") if f"--{name}" not in arguments]
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "lambdatrace_collector"),
            *("--store", url, "--http", "127.0.0.1:0", *others),
            *arguments,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.search(r"http://\S+", line)
    if match is None:
        _, logged = process.communicate(timeout=START_DEADLINE_S)
        raise AssertionError(f"the collector did not start: {logged}")
    return Collector(process, match[0], line)


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """One collector for all tests that only talk to it.

    LAMBDATRACE_TEST_STORE=clickhouse://… has them run against a ClickHouse server.
    """
    store = os.environ.get(STORE_VARIABLE) or tmp_path_factory.mktemp("store") / "data"
    running = start(store, "--grpc", "127.0.0.1:0", "--xray", "127.0.0.1:0")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def start_collector() -> Iterator[Callable[..., Collector]]:
    """Starts collectors of the test's own; kills those that are left."""
    started: list[Collector] = []

    def begin(store: Path | str, *arguments: str) -> Collector:
        started.append(start(store, *arguments))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.fixture
def unique() -> str:
    """A name that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@dataclass
class ClickHouse:
    """A server process on a folder of its own; it keeps its port when it starts again."""

    folder: Path
    port: int = 0
    config_file: Path | None = None
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return self.url_for(PASSWORD)

    def url_for(self, password: str) -> str:
        return f"clickhouse://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/lambdatrace"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        arguments = [str(self.folder), str(self.port), "--user", USER, "--password", PASSWORD]
        if self.config_file is not None:
            arguments += ["--config-file", str(self.config_file)]
        self.process = subprocess.Popen(
            [sys.executable, str(CLICKHOUSE_SERVER), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TZ": "America/New_York"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready on port "), line
        self.port = int(line.split()[-1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.communicate(timeout=STOP_DEADLINE_S)
            self.process = None


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """One server for the tests of a module that leave it as it is."""
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse") / "data")
    server.start()
    yield server
    server.end()


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[ClickHouse]:
    """A server of the test's own, which the test starts."""
    server = ClickHouse(tmp_path / "clickhouse")
    yield server
    server.end()


@pytest.fixture
def open_on() -> Iterator[Callable[[ClickHouse], Store]]:
    """Opens stores as the collector does, and closes them."""
    opened: list[Store] = []

    def begin(server: ClickHouse) -> Store:
        opened.append(open_store(parse_store_url(server.url)))
        return opened[-1]

    yield begin
    for store in opened:
        store.close()
