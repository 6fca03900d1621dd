from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_SQL = files("lambdatrace_collector.store") / "sql"
_PART = re.compile(r"^ *-- part (?P<name>\w+)\n(?P<text>.*?)^ *-- end\n", re.MULTILINE | re.DOTALL)
_STRING_OR_COMMENT = re.compile(r"(?P<string>'(?:[^'\\]|\\.)*')|--[^\n]*")


class SchemaFile(NamedTuple):
    """One step of the schema: its number, name and statements, in order."""

    version: int
    name: str
    statements: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Tells files apart that make other tables: comments and spaces make no difference."""
        bare = _STRING_OR_COMMENT.sub(
            lambda found: found["string"] or "", "\n".join(self.statements)
        )
        return hashlib.sha256(" ".join(bare.split()).encode()).hexdigest()[:16]


@cache
def query_text(name: str) -> str:
    """The text of `queries/NAME.sql`, without its parts; `NAME+PART` is with that one.

    A part stands between the lines `-- part PART` and `-- end`.
    """
    file_name, _, part = name.partition("+")
    text = (_SQL / "queries" / f"{file_name}.sql").read_text(encoding="utf-8")
    return _PART.sub(lambda found: found["text"] if found["name"] == part else "", text)


@cache
def command_text(name: str) -> str:
    """The text of `commands/NAME.sql`, a statement that answers nothing."""
    return (_SQL / "commands" / f"{name}.sql").read_text(encoding="utf-8")


@cache
def format_schema(name: str) -> str:
    """The protobuf description that the engine decodes `NAME` with."""
    parts = ("otlp_common", name)
    return "\n".join((_SQL / f"{part}.proto").read_text(encoding="utf-8") for part in parts)


def versions_statement() -> str:
    """The statement that makes the table of applied schema files."""
    return split_statements((_SQL / "versions.sql").read_text(encoding="utf-8"))[0]


def kill_query_statement() -> str:
    """The statement that ends the queries that were sent with the mark `mark`."""
    return split_statements((_SQL / "kill_query.sql").read_text(encoding="utf-8"))[0]


def schema_files() -> list[SchemaFile]:
    """Every schema file, in the order in which they are applied."""
    entries = sorted(
        (entry.name, entry) for entry in (_SQL / "schema").iterdir() if entry.name.endswith(".sql")
    )
    return [
        SchemaFile(int(name[:4]), name, split_statements(entry.read_text(encoding="utf-8")))
        for name, entry in entries
    ]


def split_statements(text: str) -> tuple[str, ...]:
    """The statements of a file, each ending with a semicolon at the end of its line."""
    statements: list[str] = []
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        if line.rstrip().endswith(";") and not line.lstrip().startswith("--"):
            statements.append("\n".join(lines).strip().rstrip(";"))
            lines.clear()
    return tuple(statements)
