from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lambdatrace_collector.errors import StoreUrlError

DATABASE = "lambdatrace"
CLICKHOUSE_HTTP_PORT = 8123


@dataclass(frozen=True)
class StoreUrl:
    """Where the data is: a folder of the embedded engine, or a ClickHouse server."""

    text: str
    folder: Path | None  # the embedded engine's, absolute; None for a server
    dsn: str  # what clickhouse-connect is given
    database: str

    @property
    def is_embedded(self) -> bool:
        """True when the engine runs in this process."""
        return self.folder is not None

    @property
    def shown(self) -> str:
        """The URL without its password, for people and logs."""
        if self.folder is not None:
            return f"chdb://{self.folder}"
        parts = urlsplit(self.text)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        user = f"{parts.username}@" if parts.username else ""
        return f"{parts.scheme}://{user}{host}{port}/{self.database}"


def parse_store_url(text: str) -> StoreUrl:
    """The store that `text` names.

    `chdb://PATH` is a folder, relative to the current one unless PATH begins with a slash
    (`chdb:///var/lib/lambdatrace`). `clickhouse://[user[:password]@]host[:port][/database]` and
    `clickhouses://…` (TLS) are a server's HTTP interface. Raises StoreUrlError.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("chdb", "clickhouse", "clickhouses"):
        raise StoreUrlError(
            f"--store is {text!r}: expected chdb://FOLDER or clickhouse://HOST[:PORT]/DATABASE"
        )
    if scheme == "chdb":
        return _embedded(text, rest)
    return _server(text, tls=scheme == "clickhouses")


def _embedded(text: str, rest: str) -> StoreUrl:
    if not rest or any(character in rest for character in "?#%"):
        raise StoreUrlError(
            f"--store is {text!r}: expected a folder after chdb://, without ?, # and %"
        )
    folder = Path(rest).absolute()
    return StoreUrl(text, folder, f"chdb://{folder / 'engine'}", DATABASE)


def _server(text: str, *, tls: bool) -> StoreUrl:
    parts = urlsplit(text)
    database = parts.path.strip("/") or DATABASE
    try:
        port = parts.port or (8443 if tls else CLICKHOUSE_HTTP_PORT)
    except ValueError as error:
        raise StoreUrlError(f"--store is {text!r}: the port is not a number to 65535") from error
    if not parts.hostname:
        raise StoreUrlError(f"--store is {text!r}: the host is missing after {parts.scheme}://")
    if not database.isidentifier():
        raise StoreUrlError(
            f"--store is {text!r}: expected a database name of letters, digits and _,"
            f" not {database!r}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials = parts.netloc.rpartition("@")[0]
    user = f"{credentials}@" if credentials else ""
    dsn = f"{'https' if tls else 'http'}://{user}{host}:{port}/"
    return StoreUrl(text, None, dsn, database)
