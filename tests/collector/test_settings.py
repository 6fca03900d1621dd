from __future__ import annotations

import re
from pathlib import Path

import pytest

from lambdatrace_collector.settings import parse_settings

README = Path(__file__).parents[2] / "README.md"


def test_every_option_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(["--help"])
    options = set(re.findall(r"^ +(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    section = README.read_text().partition("### The collector's AWS APIs")[2].partition("\n## ")[0]
    rows = {
        name
        for line in section.splitlines()
        if line.startswith("| `--")
        for name in re.findall(r"`(--[a-z-]+)`", line.split("|")[1])
    }
    assert rows == options - {"--help"}
