from __future__ import annotations

import contextlib
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Harness]]:
    """`with run(source, timeout_s=1) as harness`: one function `app` whose module is `source`."""

    @contextlib.contextmanager
    def run_function(source: str, **options: Any) -> Iterator[Harness]:
        folder = tmp_path / "code"
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(textwrap.dedent(source))
        settings = {
            name: options.pop(name)
            for name in (
                "collector_url",
                "idle_timeout_s",
                "concurrency_max",
                "private_tmp",
                "aws_endpoint_url",
                "clock",
                "cpu_limit",
                "control_groups",
                "x_ray_daemon",
                "platform_log_style",
            )
            if name in options
        }
        function = Function("app", "app.handler", code_dir=folder, **options)
        with Harness([function], **settings) as harness:
            yield harness

    return run_function
