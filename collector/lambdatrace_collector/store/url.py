from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lambdatrace_collector.errors import StoreUrlError

DATABASE = "lambdatrace"
CLICKHOUSE_HTTP_PORT = 8123

_PASSWORD = re.compile(r"\A((?:\w+://|(?!\w+://))[^:]*:).*@", re.DOTALL)
_QUERY = re.compile(r"\?.*", re.DOTALL)


@dataclass(frozen=True)
class StoreUrl:
    """Where the data is: a folder of the embedded engine, or a ClickHouse server."""

    text: str = field(repr=False)  # may hold a password
    folder: Path | None  # the embedded engine's, absolute; None for a server
    dsn: str = field(repr=False)  # what clickhouse-connect is given; may hold a password
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
        raise _refused(text, "expected chdb://FOLDER or clickhouse://HOST[:PORT]/DATABASE")
    if scheme == "chdb":
        return _embedded(text, rest)
    return _server(text, tls=scheme == "clickhouses")


def _embedded(text: str, rest: str) -> StoreUrl:
    if not rest or any(character in rest for character in "?#%"):
        raise _refused(text, "expected a folder after chdb://, without ?, # and %")
    folder = Path(rest).absolute()
    return StoreUrl(text, folder, f"chdb://{folder / 'engine'}", DATABASE)


def _server(text: str, *, tls: bool) -> StoreUrl:
    try:
        parts = urlsplit(text)
        port = parts.port or (8443 if tls else CLICKHOUSE_HTTP_PORT)
    except ValueError:
        # Without its cause: Python's message holds the whole URL, or its password taken for a port.
        expected = "expected a host, and a port that is a number to 65535"
        raise _refused(text, expected) from None
    database = parts.path.strip("/") or DATABASE
    if not parts.hostname:
        raise _refused(text, f"the host is missing after {parts.scheme}://")
    if not database.isidentifier():
        raise _refused(text, "expected a database name of letters, digits and _")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials = parts.netloc.rpartition("@")[0]
    user = f"{credentials}@" if credentials else ""
    dsn = f"{'https' if tls else 'http'}://{user}{host}:{port}/"
    return StoreUrl(text, None, dsn, database)


def _refused(text: str, reason: str) -> StoreUrlError:
    return StoreUrlError(f"--store is {_without_password(text)!r}: {reason}")


def _without_password(text: str) -> str:
    """`text`, which need not be a URL, without what may be a password.

    That is all from the first colon of the credentials to the last @, since a password that is not
    percent-encoded may hold any character; and what follows a question mark.
    """
    return _QUERY.sub("?***", _PASSWORD.sub(r"\1***@", text))
