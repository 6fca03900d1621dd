"""Functions that run from a layer as `lambdatrace layer build` writes it."""

from __future__ import annotations

import re
import sys
import zipfile
from importlib.metadata import distribution
from typing import TYPE_CHECKING

import pytest

from lambdatrace.cli import main
from lambdatrace.layer import VERSIONS, build_layer
from lambdatrace.layer.bytecode import find_interpreters
from tests.end_to_end.conftest import OtlpReceiver, attributes, invoke_frozen

if TYPE_CHECKING:
    from pathlib import Path

    from lambdatrace.harness import Harness
    from tests.end_to_end.conftest import Deploy

cache_tag = sys.implementation.cache_tag
CLIENT = 3
EVERY_NAME = """
import lambdatrace

log = lambdatrace.logger("payments", level="INFO")

@lambdatrace.instrument(capture_payload=True)
@log.inject_lambda_context(log_event=True)
def handler(event, context):
    with lambdatrace.span("work") as span, log.append_context_keys(a=1):
        span.set_attribute("a", 1)
        log.append_keys(b=2)
        log.info("charged %s", 5, currency="EUR")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("no")
    lambdatrace.metric("Orders", 1)
    return [len(list(lambdatrace.messages(event))), lambdatrace.flush()]
"""
REDIS = """
import socket, threading

def serve(listener):
    connection, _ = listener.accept()
    for answer in (b"+OK\\r\\n", b"$1\\r\\n7\\r\\n"):
        connection.recv(4096)
        connection.sendall(answer)

def handler(event, context):
    import redis
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    port = listener.getsockname()[1]
    client = redis.Redis(port=port, db=1, protocol=2, lib_name=None, lib_version=None)
    return client.get("key").decode()
"""


def repack(name: str, folder: Path) -> None:
    """Make the wheel of an installed distribution again, and those of all that it needs."""
    found = distribution(name)
    tags = [line.split("-") for line in re.findall(r"Tag: (.*)", found.read_text("WHEEL") or "")]
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    path = folder / f"{found.metadata['Name'].replace('-', '_')}-{found.version}-{tag}.whl"
    if path.exists():
        return
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or ():
            if not file.as_posix().startswith("..") and "__pycache__" not in file.parts:
                archive.write(str(file.locate()), file.as_posix())
    for requirement in found.requires or ():
        match = re.match(r"[\w.-]+", requirement)
        if match is not None and ";" not in requirement:
            repack(match[0], folder)


def test_a_layer_with_an_instrumentation_records_its_library(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    repack("opentelemetry-instrumentation-redis", wheels)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    layer = tmp_path / "layer.zip"
    extras = "opentelemetry-instrumentation-redis"
    assert main(["layer", "build", "--with", extras, "-o", str(layer)]) == 0
    name = deploy(
        REDIS,
        timeout_s=20,
        layers=[layer],
        environment={"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace"},
    )
    assert invoke_frozen(harness, name).json() == "7"
    (call,) = [span for span in receiver.spans if span.kind == CLIENT]
    assert call.parent_span_id == receiver.one(name).span_id
    assert attributes(call)["db.statement"] == "GET ?"


@pytest.mark.parametrize("wrapper", [{}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/lambdatrace"}])
def test_on_another_python_than_the_layers_a_function_runs_bare_and_says_so(
    harness: Harness,
    deploy: Deploy,
    receiver: OtlpReceiver,
    tmp_path: Path,
    wrapper: dict[str, str],
) -> None:
    found = [each for each in find_interpreters(VERSIONS) if each.tag != cache_tag]
    if not found:
        pytest.skip("no other Python on this machine")
    layer = tmp_path / "layer.zip"
    build_layer(layer, found[:1], is_all_bundled=True)
    name = deploy(EVERY_NAME, layers=[layer], environment=wrapper)
    assert invoke_frozen(harness, name, {"Records": [1]}).json() == [1, True]
    lines = [event.message for event in harness.logs(name)]
    (said,) = [line for line in lines if "[lambdatrace]" in line]
    assert said.rstrip() == (
        f"[lambdatrace] the layer is for {found[0].tag}, this is {cache_tag}: the function runs "
        "without tracing; build the layer for its --runtime"
    )
    assert any("charged 5 {'currency': 'EUR'}" in line for line in lines)
    assert any("ZeroDivisionError" in line for line in lines)
    assert receiver.requests == 0
