"""AWS Signature Version 4 of a request: values in, headers out.

Source: AWS General Reference, "Create a signed AWS API request". Loaded by who sends to AWS alone,
since `hashlib` and `hmac` are.
"""

from __future__ import annotations

import hashlib
import hmac
from time import gmtime, strftime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


class Credentials:
    """An access key; `token` is that of temporary credentials, empty for others."""

    __slots__ = ("access_key_id", "secret_access_key", "token")

    def __init__(self, access_key_id: str, secret_access_key: str, token: str = "") -> None:
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.token = token

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Credentials | None:
        """Those Lambda sets, as they are now: it replaces them before they end; None without."""
        key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if not key or not secret:
            return None
        return cls(key, secret, environ.get("AWS_SESSION_TOKEN", ""))

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id})"


def signed_headers(
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    region: str,
    service: str,
    now_s: float,
) -> dict[str, str]:
    """What a POST to `path`, which may have a query, needs besides `headers` to be signed.

    `headers` have the Host and are all signed; `now_s` is Unix time.
    """
    time = strftime("%Y%m%dT%H%M%SZ", gmtime(now_s))
    added = {"X-Amz-Date": time}
    if credentials.token:
        added["X-Amz-Security-Token"] = credentials.token
    canonical = {
        name.lower().strip(): " ".join(value.split())
        for name, value in {**headers, **added}.items()
    }
    names = ";".join(sorted(canonical))
    path, _, query = path.partition("?")
    request = "\n".join(
        (
            "POST",
            _canonical_path(path),
            _canonical_query(query),
            *(f"{name}:{canonical[name]}" for name in sorted(canonical)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{time[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = ("AWS4" + credentials.secret_access_key).encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    added["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )
    return added


def _canonical_path(path: str) -> str:
    """The path without `.`, `..` and empty parts, encoded (once more, if it was)."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    end = "/" if path.endswith("/") and parts else ""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in f"/{'/'.join(parts)}{end}".encode()
    )


def _canonical_query(query: str) -> str:
    pairs = [item.partition("=") for item in query.split("&") if item]
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs))


def endpoint_of(host: str) -> tuple[str, str] | None:
    """Service and region of an OTLP endpoint of AWS; None if `host` is not one.

    Source: CloudWatch User Guide, "OTLP endpoints".
    """
    parts = host.lower().split(".")
    services = {"xray": "xray", "logs": "logs", "monitoring": "monitoring"}
    if parts[2:] not in (["amazonaws", "com"], ["amazonaws", "com", "cn"]):
        return None
    return (services[parts[0]], parts[1]) if parts[0] in services else None
