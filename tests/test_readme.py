"""What the README says of the product is so."""

from __future__ import annotations

import re
from pathlib import Path

from lambdatrace.cli import COMMANDS
from lambdatrace.settings import TABLE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_settings() -> None:
    expected = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |"
        for name, _, _, default, meaning in TABLE
    ]
    section = README.partition("## Settings")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == expected


def test_every_folder_and_file_it_names_is_there() -> None:
    section = README.partition("## Where things are")[2].partition("\n## ")[0]
    names = re.findall(r"`([a-z_]+(?:/[a-z_./]*)?)`", section.partition("A record's way")[0])
    assert names != []
    places = [ROOT, ROOT / "lambdatrace", ROOT / "lambdatrace" / "cli", ROOT / "tests"]
    places += [ROOT / "collector" / "lambdatrace_collector"]
    missing = [
        name
        for name in names
        if "/" in name or "." in name
        if not any((place / name).exists() for place in places)
    ]
    assert missing == []


def test_every_folder_of_the_packages_is_on_the_map() -> None:
    section = README.partition("## Where things are")[2].partition("\n## ")[0]
    folders = [path for path in (ROOT / "lambdatrace").iterdir() if (path / "__init__.py").exists()]
    assert [path.name for path in folders if f"`lambdatrace/{path.name}/`" not in section] == []


def test_every_command_it_shows_exists() -> None:
    shown = set(re.findall(r"lambdatrace ([a-z]+)\b", " ".join(re.findall(r"`[^`\n]+`", README))))
    assert shown <= set(COMMANDS)
    assert shown >= {"demo", "start", "invoke", "collector", "layer"}


def test_the_two_commands_come_first() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("## ")
