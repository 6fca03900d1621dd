"""The settings of what sends: a second table, read once, when the first record is about to be sent.

That is after the first response, so that its many names cost no cold start, and so that what the
function's init puts into `os.environ` counts: an API key it has fetched, which Lambda's own
variables cannot refer to. Names and meanings are
those of the OpenTelemetry specification, "OpenTelemetry Protocol Exporter": each
OTEL_EXPORTER_OTLP_X also exists for one signal, as OTEL_EXPORTER_OTLP_TRACES_X, and goes before.
"""

from __future__ import annotations

from lambdatrace.errors import SettingError
from lambdatrace.settings import boolean, one_of, pairs, positive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Row = tuple[str, str, Callable[[str, str], Any], str, str]

TRACES, METRICS, LOGS = SIGNALS = ("traces", "metrics", "logs")
PROTOBUF, JSON = "http/protobuf", "http/json"
HIDDEN = "(hidden)"  # what may be a credential
NOT_SHOWN = "what may be a secret is not shown here"
_HEADER_NAME_LENGTH_MAX = 40  # of one that is told; a key in base64 has digits, or is shorter
_PREFIX = "OTEL_EXPORTER_OTLP_"

_NAME_SIGNS = frozenset("!#$%&'*+-.^_`|~")  # with letters and digits: a token (RFC 9110, 5.6.2)
# What a request says of its own frame, connection and body: a second one of these is an attack on
# whoever stands between, and another value makes the request one that nobody can read.
_OF_THE_REQUEST = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "content-type", "content-encoding"),
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"),
    )
)
_HEADERS_EXPECTED = (
    "names of letters, digits and signs such as -, and none that each request has by itself, "
    f"such as Host, Content-Length and Content-Type; {NOT_SHOWN}"
)


def _url(name: str, value: str) -> str:
    if not value:
        return value
    from lambdatrace.http1 import Address, host_and_port

    try:
        Address(value)
    except ValueError as error:
        # What stands before the @ may be a password, and what follows the host hold a key.
        scheme, separator, rest = value.rpartition("://")
        authority = host_and_port(rest)
        shown = authority.rpartition("@")[2]
        if "@" in authority:
            shown = f"{HIDDEN}@{shown}"
        else:
            shown = f"{scheme}{separator}{shown}" + ("/…" if authority != rest else "")
        raise SettingError(name, shown, str(error).removeprefix("expected ")) from None
    return value


def _protocol(name: str, value: str) -> str:
    if value.lower() not in (PROTOBUF, JSON):
        for_grpc = "for gRPC use opentelemetry-exporter-otlp behind lambdatrace.otel"
        raise SettingError(name, value, f"{PROTOBUF} or {JSON}; {for_grpc}")
    return value.lower()


def _headers(name: str, value: str) -> dict[str, str]:
    """Pairs that may stand in an HTTP request beside those it has by itself.

    Raises SettingError, with the others where some may not.
    """
    for item in value.split(","):
        key, equals, _ = item.partition("=")
        if item.strip() and not (equals and key.strip()):
            expected = f"key=value pairs between commas; {NOT_SHOWN}"
            raise SettingError(name, _without_values(value), expected)
    found = pairs(name, value)
    letters = "".join(found) + "".join(found.values())
    try:
        letters.encode("latin-1")
    except UnicodeEncodeError:
        letters = "\n"
    if not letters.isprintable():
        expected = f"printable characters of ISO 8859-1 in keys and values; {NOT_SHOWN}"
        raise SettingError(name, _without_values(value), expected)
    kept = {key: text for key, text in found.items() if _may_be_added(key)}
    if len(kept) < len(found):
        refused = ",".join(f"{key}=" for key in found if key not in kept)
        raise SettingError(name, _without_values(refused), _HEADERS_EXPECTED, kept or None)
    return found


def _may_be_added(name: str) -> bool:
    is_token = all((sign.isascii() and sign.isalnum()) or sign in _NAME_SIGNS for sign in name)
    return is_token and name.lower() not in _OF_THE_REQUEST


def _without_values(headers: str) -> str:
    """`headers` as they may be told: of each pair the key, if it can be none of a credential."""
    shown = []
    for item in headers.split(","):
        key, equals, _ = item.strip().partition("=")
        is_name = key.replace("-", "").isalpha() and len(key) <= _HEADER_NAME_LENGTH_MAX
        if item.strip():
            shown.append(f"{key}={HIDDEN}" if equals and is_name else HIDDEN)
    return ",".join(shown)


def _daemon(name: str, value: str) -> tuple[str, int]:
    """Host and port for UDP: `HOST:PORT`, or `tcp:HOST:PORT udp:HOST:PORT` in any order."""
    from lambdatrace.http1 import host_name, port_number

    for part in value.split():
        fields = part.split(":")
        if len(fields) == 3 and fields[0].lower() == "udp":  # noqa: PLR2004
            fields = fields[1:]
        if len(fields) == 2:  # noqa: PLR2004
            try:
                return host_name(fields[0]), port_number(fields[1])
            except ValueError as error:
                raise SettingError(name, value, str(error).removeprefix("expected ")) from None
    raise SettingError(name, value, "HOST:PORT, or tcp:HOST:PORT udp:HOST:PORT")


def _auto_or_boolean(name: str, value: str) -> str:
    if value.lower() == "auto":
        return "auto"
    try:
        return "true" if boolean(name, value) else "false"
    except SettingError:
        raise SettingError(name, value, "auto, true or false") from None


def _file(name: str, value: str) -> str:
    if value:
        try:
            with open(value, "rb"):  # noqa: PTH123 - pathlib costs 2.8 ms
                pass
        except OSError as error:
            reason = f"the path of a readable PEM file ({error.strerror})"
            raise SettingError(name, value, reason) from None
    return value


# As settings.TABLE: name, attribute, parser, default as written in the environment, one sentence.
# These exist for each signal too, and are attributes of its SignalSettings.
SIGNAL_TABLE: tuple[Row, ...] = (
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "endpoint",
        _url,
        "http://localhost:4318",
        "Base URL; `/v1/traces` and its like are added, but not to that of one signal.",
    ),
    (
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "protocol",
        _protocol,
        PROTOBUF,
        "`http/protobuf` or `http/json`; for gRPC use `opentelemetry-exporter-otlp`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "headers",
        _headers,
        "",
        "Headers of each request, `key=value` between commas, percent-encoded.",
    ),
    (
        "OTEL_EXPORTER_OTLP_COMPRESSION",
        "compression",
        one_of("none", "gzip"),
        "none",
        "`gzip` or `none`.",
    ),
    (
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "timeout_ms",
        positive,
        "10000",
        "The longest one send may take, in ms; the invocation's remaining time may shorten it.",
    ),
    (
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "certificate",
        _file,
        "",
        "PEM file of the certificates to trust, instead of the system's.",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "client_certificate",
        _file,
        "",
        "PEM file of the certificate to show to the backend, with its chain.",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "client_key",
        _file,
        "",
        "PEM file of that certificate's key, if the key is not in the same file.",
    ),
)

EXPORTER_TABLE: tuple[Row, ...] = (
    *SIGNAL_TABLE,
    (
        "LAMBDATRACE_OTLP_SIGV4",
        "sigv4",
        _auto_or_boolean,
        "auto",
        "Sign requests (SigV4): `auto` for the hosts of AWS's OTLP endpoints, `true` or `false`.",
    ),
    (
        "AWS_XRAY_DAEMON_ADDRESS",
        "daemon",
        _daemon,
        "127.0.0.1:2000",
        "Where `OTEL_TRACES_EXPORTER=xray` sends, by UDP; Lambda sets it.",
    ),
    (
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        "log_batch_size_max",
        positive,
        "512",
        "How many log records one request carries at most.",
    ),
)


class SignalSettings:
    """The values of SIGNAL_TABLE for one signal; `url` is where its requests are posted."""

    __slots__ = (
        "certificate",
        "client_certificate",
        "client_key",
        "compression",
        "headers",
        "protocol",
        "timeout_ms",
        "url",
    )

    url: str
    protocol: str
    headers: dict[str, str]
    compression: str
    timeout_ms: int
    certificate: str
    client_certificate: str
    client_key: str


class ExporterSettings:
    """The values of EXPORTER_TABLE as attributes, and the `errors` met while reading them."""

    sigv4: str
    daemon: tuple[str, int]
    log_batch_size_max: int

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.errors: list[SettingError] = []
        self._environ = environ
        self._general: dict[str, Any] = {}
        for name, attribute, parse, default, _ in EXPORTER_TABLE:
            value = self._read(name, parse, parse(name, default), default)
            if name.startswith(_PREFIX):
                self._general[attribute] = value
            else:
                setattr(self, attribute, value)
        self._by_signal = {signal: self._of_signal(signal) for signal in SIGNALS}
        # Where OTLP requests are posted; each HTTP request of the function's is compared with them.
        self.urls = tuple(settings.url for settings in self._by_signal.values())

    def of(self, signal: str) -> SignalSettings:
        """What holds for one signal."""
        return self._by_signal[signal]

    def _of_signal(self, signal: str) -> SignalSettings:
        settings = SignalSettings()
        settings.url = self._general["endpoint"].rstrip("/") + f"/v1/{signal}"
        for name, attribute, parse, _, _ in SIGNAL_TABLE:
            own = name.replace(_PREFIX, f"{_PREFIX}{signal.upper()}_")
            general = f"what {name} says"
            if attribute == "endpoint":
                settings.url = self._read(own, parse, settings.url, general)
            else:
                value = self._read(own, parse, self._general[attribute], general)
                setattr(settings, attribute, value)
        return settings

    def _read(self, name: str, parse: Callable[[str, str], Any], default: Any, shown: str) -> Any:
        value = self._environ.get(name)
        if not value:  # an empty variable counts as unset (OpenTelemetry)
            return default
        try:
            return parse(name, value)
        except SettingError as error:
            self.errors.append(error)
            if error.instead is None:
                error.taken = shown
                return default
            error.taken = "the others"
            return error.instead
