from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

START_DEADLINE_S = 60
STOP_DEADLINE_S = 60


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


def start(folder: Path, *arguments: str) -> Collector:
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "lambdatrace_collector"),
            *("--store", f"chdb://{folder}", "--http", "127.0.0.1:0"),
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
    """One collector for all tests that only talk to it."""
    running = start(tmp_path_factory.mktemp("store") / "data", "--no-grpc", "--no-xray")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def start_collector() -> Iterator[Callable[..., Collector]]:
    """Starts collectors of the test's own; kills those that are left."""
    started: list[Collector] = []

    def begin(folder: Path, *arguments: str) -> Collector:
        started.append(start(folder, *arguments))
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
