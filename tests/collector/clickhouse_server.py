"""ClickHouse's HTTP interface, as far as clickhouse-connect speaks it, over the embedded engine.

    python clickhouse_server.py FOLDER PORT [--user U --password P] [--config-file FILE]

Every statement is executed by a real ClickHouse engine (chDB) in this process: settings, their
constraints, parameters, formats and errors are the engine's own. The HTTP around it is written
here after ClickHouse's `src/Server/HTTPHandler.cpp`, `HTTP/HTMLForm.cpp` and
`HTTP/exceptionCodeToHTTPStatus.cpp`. What differs from a server: where the data of an INSERT
begins is found here, since the engine takes it from a file; nothing is sent before a statement has
ended, as with `wait_end_of_query=1`; there is one user.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import re
import signal
import tempfile
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEEP_ALIVE_S = 3  # short, so that clients meet connections the server has closed
# Of one URL or form; the rest of what a server limits is read from the engine's own settings.
LIMIT_SETTINGS = ("http_max_fields", "http_max_field_name_size", "http_max_field_value_size")
# Parameters of a request that are not settings.
RESERVED = """
    query database default_format user password quota_key session_id session_timeout session_check
    query_id compress decompress wait_end_of_query buffer_size client_protocol_version role
    stacktrace
"""
# A block of the Native format begins with this for a client that names a protocol version:
# field 1 (is_overflows) 0, field 2 (bucket_num) -1, end.
BLOCK_INFO = bytes.fromhex("01 00 02 ff ff ff ff 00")

ERRORS_OF_STATUS = {
    400: """
        BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
        CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
        CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6
        CANNOT_PARSE_INPUT_ASSERTION_FAILED CANNOT_PARSE_UUID DUPLICATE_COLUMN ILLEGAL_COLUMN
        UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE THERE_IS_NO_COLUMN TOO_DEEP_AST TOO_BIG_AST
        UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH
        VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    """,
    401: "REQUIRED_PASSWORD",
    403: """
        UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE ACCESS_DENIED
    """,
    404: """
        UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE
        UNKNOWN_DATABASE UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING UNKNOWN_AGGREGATE_FUNCTION
        UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE
    """,
    408: "TIMEOUT_EXCEEDED",
    411: "HTTP_LENGTH_REQUIRED",
    413: "QUERY_IS_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    501: "NOT_IMPLEMENTED",
    503: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK",
}
STATUS_OF_ERROR = {
    error: status for status, errors in ERRORS_OF_STATUS.items() for error in errors.split()
}

_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s+(?P<table>\S+)\s*(?P<columns>\([^)]*\))?\s*"
    rb"FORMAT\s+(?P<format>\w+)[ \t\f]*\r?\n?",
    re.IGNORECASE,
)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)\.")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")


class RefusedError(Exception):
    """What a server answers before the engine sees the statement."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message} ({name})")


@dataclass
class Call:
    """A request's parameters, told apart."""

    statement: bytes = b""
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    session_id: str | None = None
    query_id: str = ""
    protocol_version: int = 0
    default_format: str = "TabSeparated"


@dataclass
class Result:
    body: bytes
    format: str | None  # None for a statement that has no result
    summary: Mapping[str, str]


class Engine:
    """The database of `folder`. Each call has settings and a current database of its own."""

    def __init__(self, folder: Path, config_file: Path | None) -> None:
        options = "?max_server_memory_usage=700000000&background_pool_size=2"
        if config_file is not None:
            options += f"&config-file={config_file}"
        self._path = f"{folder / 'engine'}{options}"
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)  # the engine keeps format schemas in the current folder
        self._kept = chdb.connect(self._path)  # the engine lives as long as one connection does
        self._sessions: dict[str, threading.Lock] = {}
        names = ", ".join(f"'{name}'" for name in LIMIT_SETTINGS)
        rows = self._kept.query(f"SELECT name, value FROM system.settings WHERE name IN ({names})")
        limits = dict(line.split(",") for line in rows.bytes().decode().splitlines())
        self.limits = {name.strip('"'): int(value.strip('"')) for name, value in limits.items()}
        version, timezone = self._kept.query("SELECT version(), timezone()", "TSV").bytes().split()
        self.version, self.timezone = version.decode(), timezone.decode()

    def run(self, call: Call) -> Result:
        """Execute one statement. Raises RefusedError or chDB's errors."""
        with self._session(call.session_id):
            return self._run(call)

    @contextmanager
    def _session(self, session_id: str | None) -> Iterator[None]:
        """A server runs one statement of a session at a time, and refuses a second."""
        if session_id is None:
            yield
            return
        lock = self._sessions.setdefault(session_id, threading.Lock())
        if not lock.acquire(blocking=False):
            message = f"Session {session_id} is locked by a concurrent client."
            raise RefusedError(373, "SESSION_IS_LOCKED", message)
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        self._kept.close()

    def _run(self, call: Call) -> Result:
        connection = chdb.connect(self._path)
        try:
            if call.settings:
                pairs = (f"{name} = {quoted(value)}" for name, value in call.settings.items())
                connection.query(f"SET {', '.join(pairs)}")
            if call.database:
                connection.query(f"USE `{call.database}`")
            insert = _INSERT.match(call.statement)
            if insert is not None:
                return self._insert(connection, insert, call.statement[insert.end() :])
            return self._select(connection, call)
        finally:
            connection.close()

    def _insert(self, connection: Any, insert: re.Match[bytes], data: bytes) -> Result:
        with tempfile.NamedTemporaryFile(dir=self._incoming) as file:
            file.write(data)
            file.flush()
            columns = (insert["columns"] or b"").decode()
            result = connection.query(
                f"INSERT INTO {insert['table'].decode()} {columns} FROM INFILE '{file.name}'"
                f" FORMAT {insert['format'].decode()}"
            )
        return Result(b"", None, {"written_rows": str(result.rows_read())})

    def _select(self, connection: Any, call: Call) -> Result:
        text = call.statement.decode()
        # Only the engine's parser knows a second statement, which a server refuses.
        parsed = connection.query(
            "SELECT formatQuerySingleLine({text:String})", "TSVRaw", params={"text": escaped(text)}
        ).bytes()
        given = _FORMAT.search(text)
        form = given[1] if given else call.default_format
        if form == "Native" and call.protocol_version and parsed.startswith((b"SELECT", b"WITH")):
            # Streamed, the engine gives the result block by block.
            blocks = connection.send_query(text, form, params=call.parameters)
            body = b"".join(BLOCK_INFO + block.bytes() for block in blocks if block.bytes())
            return Result(body, form, {})
        result = connection.query(text, form, params=call.parameters)
        summary = {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}
        body = result.bytes() or b""
        if form == "Native" and call.protocol_version and body:
            body = BLOCK_INFO + body  # DESCRIBE and the like give one block
        return Result(body, form if body or given else None, summary)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = KEEP_ALIVE_S
    wbufsize = -1  # head and body leave together
    engine: Engine
    user = "default"
    password = ""

    def do_GET(self) -> None:
        if urlsplit(self.path).path in ("/ping", "/"):
            self._send(200, b"Ok.\n", {})
        else:
            self._send(404, b"There is no handle " + self.path.encode() + b"\n", {})

    def do_POST(self) -> None:
        query_id = ""
        try:
            body = self._body()
            self._authenticate()
            call = parse_call(self.path, self.headers.get("Content-Type", ""), body, self.engine)
            query_id = call.query_id
            result = self.engine.run(call)
        except Exception as error:  # noqa: BLE001 - whatever it is, a server answers with it
            self._send_error(str(error), query_id)
            return
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self.engine.timezone,
            "X-ClickHouse-Summary": json.dumps(dict(result.summary)),
        }
        content = result.body
        if result.format is not None:
            headers["X-ClickHouse-Format"] = result.format
        if (
            call.settings.get("enable_http_compression") == "1"
            and "lz4" in self.headers.get("Accept-Encoding", "")
            and content
        ):
            headers["Content-Encoding"] = "lz4"
            content = lz4.frame.compress(content)
        self._send(200, content, headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding == "lz4":
            return bytes(lz4.frame.decompress(body))
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding != "identity":
            raise RefusedError(48, "NOT_IMPLEMENTED", f"Unknown compression method: {encoding}")
        return body

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        if (user or "default", password) != (self.user, self.password):
            message = (
                f"{user}: Authentication failed: password is incorrect, or there is no user with"
                " such name."
            )
            raise RefusedError(516, "AUTHENTICATION_FAILED", message)

    def _send_error(self, message: str, query_id: str) -> None:
        message = message[max(message.find("Code: "), 0) :]  # chDB says first how it was asked
        code = _CODE.search(message)
        names = _NAME.findall(message)
        headers = {
            "X-ClickHouse-Exception-Code": code[1] if code else "1001",  # STD_EXCEPTION
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self.engine.timezone,
        }
        body = f"{message} (version {self.engine.version} (official build))\n".encode()
        self._send(STATUS_OF_ERROR.get(names[-1] if names else "", 500), body, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


def parse_call(path: str, content_type: str, body: bytes, engine: Engine) -> Call:
    """The statement of a request and its parameters; the fields of a form come after the URL's."""
    pairs = parse_qsl(urlsplit(path).query, keep_blank_values=True)
    if content_type.startswith("multipart/form-data"):
        pairs += form_fields(content_type, body)
        body = b""
    check_limits(pairs, engine.limits)
    given = dict(pairs)
    head = given.get("query", "").encode()
    return Call(
        statement=head + b"\n" + body if head and body else head or body,
        database=given.get("database") or None,
        settings={
            name: value
            for name, value in given.items()
            if name not in RESERVED.split() and not name.startswith("param_")
        },
        parameters={
            name.removeprefix("param_"): value
            for name, value in given.items()
            if name.startswith("param_")
        },
        session_id=given.get("session_id"),
        query_id=given.get("query_id") or str(uuid.uuid4()),
        protocol_version=int(given.get("client_protocol_version", "0")),
        default_format=given.get("default_format", "TabSeparated"),
    )


def form_fields(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """The fields of a multipart form, without its files."""
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields: list[tuple[str, str]] = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        if name is not None and b"filename=" not in head:
            fields.append((name[1].decode(), value.removesuffix(b"\r\n").decode()))
    return fields


def check_limits(pairs: list[tuple[str, str]], limits: Mapping[str, int]) -> None:
    """Raises what HTMLForm throws."""
    fault = ""
    if len(pairs) > limits["http_max_fields"]:
        fault = "Too many form fields"
    elif any(len(name.encode()) > limits["http_max_field_name_size"] for name, _ in pairs):
        fault = "Field name too long"
    elif any(len(value.encode()) > limits["http_max_field_value_size"] for _, value in pairs):
        fault = "Field value too long"
    if fault:
        raise RefusedError(1000, "POCO_EXCEPTION", f"HTML Form Exception: {fault}")


def escaped(value: str) -> str:
    """`value` as a parameter's text: TabSeparated's escapes."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def quoted(value: str) -> str:
    """`value` as a string literal of SQL."""
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    parser.add_argument("--config-file", type=Path)
    arguments = parser.parse_args()
    Handler.user, Handler.password = arguments.user, arguments.password
    Handler.engine = Engine(arguments.folder, arguments.config_file)
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler) as server:
        server.daemon_threads = True
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"ready on port {server.server_address[1]}", flush=True)  # noqa: T201
        server.serve_forever(poll_interval=0.05)
    Handler.engine.close()


if __name__ == "__main__":
    main()
