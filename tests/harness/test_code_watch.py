"""Functions that are deployed again when their code changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from lambdatrace.harness import Function, InvokeError
from lambdatrace.harness.code_watch import CodeWatch, files_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from lambdatrace.harness import Harness

    Run = Callable[..., AbstractContextManager[Harness]]

SOURCE = """
import os, time

def handler(event, context):
    time.sleep(event or 0)
    return ["VERSION", os.getpid()]
"""


def touch(path: Path, text: str = "") -> None:
    """Writes a file whose time of change is not that of the write before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_files_that_are_made_changed_or_removed_are_noticed_once(tmp_path: Path) -> None:
    layer = tmp_path / "layer.zip"
    code, other = tmp_path / "code", tmp_path / "other"
    for path in (layer, code / "app.py", code / "deep" / "module.py", other / "app.py"):
        touch(path)
    functions = [
        Function("app", "app.handler", code_dir=code, layers=[layer]),
        Function("other", "app.handler", code_dir=other),
    ]
    watch = CodeWatch(functions)
    assert watch.changed() == []
    touch(code / "deep" / "module.py")
    assert watch.changed() == ["app"]
    assert watch.changed() == []
    touch(other / "new.py")
    assert watch.changed() == ["other"]
    (code / "deep" / "module.py").unlink()
    touch(layer)
    assert watch.changed() == ["app"]
    for left_out in ("__pycache__/app.pyc", ".git/HEAD", "venv/bin/python"):
        touch(code / left_out)
    assert watch.changed() == []


def test_what_is_not_there_or_leads_round_in_a_circle_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    touch(tmp_path / "app.py")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    found = files_of(tmp_path, [tmp_path / "missing"])
    assert sorted(Path(path).name for path in found) == ["app.py", "circle"]


def test_only_python_and_data_that_was_deployed_are_reasons_to_deploy_again(tmp_path: Path) -> None:
    for name in ("app.py", "out.json", "templates/page.html"):
        touch(tmp_path / name)
    watch = CodeWatch([Function("app", "app.handler", code_dir=tmp_path)])
    others = ("out.json", "new.json", ".app.py.swp", "app.py~", "templates/new.html~", "4913")
    for no_code in (*others, ".env", ".hidden.py", "templates/.page.html.swp"):
        touch(tmp_path / no_code)
        assert watch.changed() == []
    touch(tmp_path / "templates" / "page.html")
    assert watch.changed() == ["app"]
    touch(tmp_path / "templates" / "helpers.py")
    assert watch.changed() == ["app"]
    (tmp_path / "templates" / "new.html~").unlink()  # it was there when the last was deployed
    assert watch.changed() == ["app"]
    assert watch.changed() == []


def test_a_function_deployed_again_runs_its_new_code_and_finishes_what_it_had(
    run: Run, tmp_path: Path
) -> None:
    with run(SOURCE, timeout_s=20) as harness, ThreadPoolExecutor(1) as threads:
        _, pid = harness.invoke("app").json()
        harness.wait_frozen("app")
        slow = threads.submit(harness.invoke, "app", 1)
        while harness.environments("app")[0].phase != "invoke":
            time.sleep(0.005)
        (tmp_path / "code" / "app.py").write_text(SOURCE.replace("VERSION", "NEW"))
        harness.deploy_again("app")
        version, new_pid = harness.invoke("app").json()
        assert (version, new_pid != pid) == ("NEW", True)
        assert slow.result().json() == ["VERSION", pid]
        with pytest.raises(InvokeError, match="Function not found"):
            harness.deploy_again("nowhere")


def test_start_does_not_deploy_again_for_what_it_prints_itself(tmp_path: Path) -> None:
    # As `lambdatrace start app.handler --watch > logs/start.py` would, the worst of names.
    source = (
        "import sys\nfrom pathlib import Path\n"
        "from lambdatrace.harness import Function\n"
        "from lambdatrace.harness.code_watch import CodeWatch\n"
        "watch = CodeWatch([Function('app', 'app.handler', code_dir=Path())])\n"
        "for _ in range(3):\n"
        "    print(watch.changed(), flush=True)\n"
    )
    touch(tmp_path / "app.py", SOURCE)
    touch(tmp_path / "logs" / "start.py")
    with (tmp_path / "logs" / "start.py").open("w") as out:
        command = [sys.executable, "-c", source]
        subprocess.run(command, cwd=tmp_path, stdout=out, check=True, timeout=60)
    assert (tmp_path / "logs" / "start.py").read_text() == "[]\n[]\n[]\n"


def test_start_watches_the_code_if_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SOURCE)
    command = [sys.executable, "-m", "lambdatrace.cli", "start", "app.handler"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--watch"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        assert process.stdout
        url = process.stdout.readline().split()[3].rstrip(":")
        api = boto3.client(
            "lambda",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )

        def answer() -> bytes:
            found: bytes = api.invoke(FunctionName="app")["Payload"].read()
            return found

        assert answer().startswith(b'["VERSION"')
        touch(tmp_path / "app.py", SOURCE.replace("VERSION", "NEW"))
        assert process.stderr
        for line in process.stderr:
            if line == "app: its code has changed, deployed again\n":
                break
        assert answer().startswith(b'["NEW"')
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        timer.cancel()
        process.kill()
        process.communicate()
