"""The tree of imports of a cold start, on the real runtime client in the harness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lambdatrace.harness import Function, Harness

if TYPE_CHECKING:
    from pathlib import Path

    from tests.end_to_end.conftest import OtlpReceiver

FILES = {
    "slow.py": "import time, slower\ntime.sleep(0.02)\n",
    "slower.py": "import time\ntime.sleep(0.05)\n",
    "late.py": "import time\ntime.sleep(0.02)\n",
    "quick.py": "",
}
APP = """
import lambdatrace
import slow, quick

{decorator}
def handler(event, context):
    import late
"""


@pytest.mark.parametrize("is_redirect", [False, True])
def test_imports_that_took_long_are_spans_where_they_were_imported(
    tmp_path: Path, receiver: OtlpReceiver, *, is_redirect: bool
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    decorator = "" if is_redirect else "@lambdatrace.instrument"
    (tmp_path / "app.py").write_text(APP.format(decorator=decorator))
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "LAMBDATRACE_IMPORT_SPANS_MIN_MS": "15",
        "LAMBDATRACE_HANDLER": "app.handler",
    }
    handler = "lambdatrace.auto.handler" if is_redirect else "app.handler"
    with Harness([Function("orders", handler, code_dir=tmp_path, environment=environment)]) as here:
        for _ in range(2):
            assert here.invoke("orders", {}).json() is None
            here.wait_frozen("orders")
    names = {span.span_id: span.name for span in receiver.spans}
    found = {
        span.name: names[span.parent_span_id] for span in receiver.spans if span.parent_span_id
    }
    assert found == {
        "init orders": "orders",
        "import app": "init orders",
        "import slow": "import app",
        "import slower": "import slow",
        "import late": "orders",
    }
    assert len(receiver.named("import slow")) == 1
