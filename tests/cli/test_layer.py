from __future__ import annotations

import re
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from lambdatrace.cli import main
from lambdatrace.layer import layer_files
from lambdatrace.layer.bytecode import LayerError
from lambdatrace.layer.publishing import ARCHIVE_BYTES_MAX, publish_layer

if TYPE_CHECKING:
    from pathlib import Path

ARN = "arn:aws:lambda:eu-west-1:123456789012:layer:lambdatrace:7"


def test_build_writes_the_layer_and_says_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "layer.zip"
    assert main(["layer", "build", "-o", str(output), "--list"]) == 0
    shown = capsys.readouterr().out
    with zipfile.ZipFile(output) as archive:
        for entry in archive.infolist():
            assert f"{entry.file_size:>9,}  {entry.filename}\n" in shown
    tag = sys.implementation.cache_tag
    assert re.search(rf"^ {{6,10}}[\d,]+  lambdatrace\.handler \({tag}\)$", shown, re.MULTILINE)
    assert re.search(r"^ {6,10}[\d,]+  lambdatrace\.metrics \(source\)$", shown, re.MULTILINE)
    assert f"{output}: {output.stat().st_size // 1000} kB" in shown
    assert (
        "for python3.10, python3.11, python3.12, python3.13, python3.14 on arm64 and x86" in shown
    )


def test_a_layer_for_one_runtime_is_precompiled_whole(tmp_path: Path) -> None:
    output = tmp_path / "one.zip"
    assert main(["layer", "build", "-o", str(output), "--runtime", "python3.11"]) == 0
    with zipfile.ZipFile(output) as archive:
        assert archive.namelist() == [
            "lambdatrace",
            "python/lambdatrace/__init__.py",
            "python/lambdatrace/bundles/cold_start",
            "python/lambdatrace/bundles/rest",
        ]


BUILT_FOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ("", "lambdatrace layer publish"),
        ("--runtime python3.11", "lambdatrace layer publish --runtime python3.11"),
        (
            "--runtime 3.10 --runtime 3.11",
            "lambdatrace layer publish --runtime python3.10 --runtime python3.11",
        ),
        (
            "--runtime 3.12 --with patches --architecture arm64",
            "lambdatrace layer publish --runtime python3.12 --with patches --architecture arm64",
        ),
        ("--with xray", f"lambdatrace layer publish --runtime {BUILT_FOR} --with xray"),
    ],
)
def test_build_tells_how_to_publish_what_was_built(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    command: str,
) -> None:
    packages = {"wrapt/_wrapt.so": b""} if "patches" in arguments else {"aws_xray_sdk.py": b""}
    monkeypatch.setattr("lambdatrace.cli.layer.package_files", lambda *_: packages)
    files = layer_files([])
    monkeypatch.setattr("lambdatrace.cli.layer.layer_files", lambda *_, **__: files)
    output = ["-o", str(tmp_path / "layer.zip")]
    assert main(["layer", "build", *arguments.split(), *output]) == 0
    shown = capsys.readouterr().out
    assert f"publish it:   {command}\n" in shown
    is_told = "packages are for one runtime, here this Python's: --runtime names another" in shown
    assert is_told == ("--with" in arguments and "--runtime" not in arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runtime", "python2.7"], "--runtime 'python2.7': expected one of python3.10, "),
        (["--with", "datadog"], "--with 'datadog': expected some of otel, xray, patches"),
        (
            ["--with", "otel", "--runtime", "3.12", "--runtime", "3.13"],
            "--with: packages are for one runtime, name one --runtime",
        ),
        (["--python", "/nowhere"], "python '/nowhere' cannot be run"),
        (["-o", "/nowhere/layer.zip"], "No such file or directory: '/nowhere/layer.zip'"),
    ],
)
def test_bad_arguments_give_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["layer", "build", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lambdatrace layer: ")
    assert message in line


@pytest.fixture
def client() -> Any:
    return boto3.client(
        "lambda", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def test_a_version_is_published_for_its_runtimes_and_architectures(client: Any) -> None:
    with Stubber(client) as stubber:
        stubber.add_response(
            "publish_layer_version",
            {"LayerVersionArn": ARN},
            {
                "LayerName": "tracing",
                "Description": "lambdatrace 0.1.0",
                "Content": {"ZipFile": b"zip"},
                "CompatibleRuntimes": ["python3.12"],
                "CompatibleArchitectures": ["arm64", "x86_64"],
                "LicenseInfo": "Apache-2.0",
            },
        )
        assert (
            publish_layer(
                client,
                "tracing",
                b"zip",
                versions=["3.12"],
                architectures=["arm64", "x86_64"],
                description="lambdatrace 0.1.0",
            )
            == ARN
        )


def test_what_aws_refuses_is_said_in_its_words(client: Any) -> None:
    with Stubber(client) as stubber:
        stubber.add_client_error("publish_layer_version", "AccessDeniedException", "not you")
        with pytest.raises(LayerError, match=r"not published: .*AccessDeniedException.*not you"):
            publish_layer(client, "x", b"", versions=[], architectures=[], description="")


def test_an_archive_that_cannot_be_sent_is_refused_before(client: Any) -> None:
    archive = bytes(ARCHIVE_BYTES_MAX + 1)
    with pytest.raises(LayerError, match="leave extras out, or upload it to S3"):
        publish_layer(client, "x", archive, versions=[], architectures=[], description="")
