from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_shows_what_the_collector_stored_and_cleans_up(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "lambdatrace.cli", "demo", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "160", "HOME": str(tmp_path)},
    )
    assert (demo.returncode, demo.stderr) == (0, "")
    text = demo.stdout
    for section in ("Traces", "Cold starts", "Logs", "Metrics", "Where to look"):
        assert re.search(rf"── {section}", text), section
    # A trace across two functions, a timeout, an exception, links, a partial batch.
    assert re.search(r"invoke payments .*client\n.*payments [0-9.]+ ms payments server", text)
    assert "Task timed out after 1.00 seconds" in text
    assert "KeyError: 'spoon'" in text
    assert re.search(r"orders-queue process .*consumer links to traces", text)
    assert "pack 0." in text
    assert re.search(r"import orders [0-9.]+ ms", text)
    # AWS/Lambda: eight orders of which one raised, one payment timed out.
    assert re.search(r"orders +│ 8 +│ 1 +│", text)
    assert re.search(r"payments +│ 7 +│ 1 +│", text)
    assert re.search(r"OrdersPlaced +│ service=orders, tier=gold +│ 4 +│ 4 +│", text)
    assert re.search(r"OrdersPacked +│ service=fulfilment +│ 5 +│ 1 +│", text)
    assert "/aws/lambda/orders · 8 REPORT lines" in text
    assert "Status: timeout" in text
