"""The sink of a signal, as the settings say how its endpoint is reached: TLS, proxy, signature."""

from __future__ import annotations

import time

from lambdatrace.errors import SendError, SettingError
from lambdatrace.http1 import Address, Connection
from lambdatrace.sinks.otlp_http import OtlpHttpSink, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lambdatrace.exporter_settings import SignalSettings
    from lambdatrace.invocation import Function
    from lambdatrace.proxy import Proxy
    from lambdatrace.redaction import Redaction
    from lambdatrace.sinks import Encoder

    Sign = Callable[[Mapping[str, str], bytes], Mapping[str, str]]

# What a signal's service at AWS is called, where the host does not tell.
SERVICES = {"traces": "xray", "metrics": "monitoring", "logs": "logs"}
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")


def otlp_sink(
    signal: str,
    settings: SignalSettings,
    encoder: Encoder,
    function: Function,
    environ: Mapping[str, str],
    *,
    sigv4: str,
    redaction: Redaction | None = None,
    on_error: Callable[[str, object], None],
) -> OtlpHttpSink:
    """What posts the records of `signal`; a proxy variable nobody can use is told to `on_error`."""
    address = Address(settings.url)
    proxy = None
    if any(environ.get(name) for name in PROXY_VARIABLES):
        from lambdatrace.proxy import proxy_for

        try:
            proxy = proxy_for(address, environ)
        except SettingError as error:
            error.taken = "no proxy"
            on_error(error.fact, error.remedy)
    headers, target, on_the_way = settings.headers, "", ""
    if proxy is not None and not address.is_tls:
        headers = merged(proxy.headers(), headers)
        target, on_the_way = f"http://{address.authority}{address.path}", str(proxy)
    sign = None
    if sigv4 == "true" or (sigv4 == "auto" and ".amazonaws.com" in address.host.lower()):
        sign = signer(signal, address, environ, is_certain=sigv4 == "true")
        if sign is not None and signal == "logs":
            headers = merged(
                {
                    "x-aws-log-group": function.log_group,
                    "x-aws-log-stream": function.log_stream,
                },
                headers,
            )
    return OtlpHttpSink(
        address,
        _connection(address, settings, proxy),
        headers,
        encoder,
        is_gzip=settings.compression == "gzip",
        target=target,
        on_the_way=on_the_way,
        redaction=redaction,
        sign=sign,
    )


def _connection(address: Address, settings: SignalSettings, proxy: Proxy | None) -> Connection:
    if not address.is_tls:
        if proxy is None:
            return Connection(address)
        return Connection(proxy.address, proxy.dial_plain)
    from lambdatrace.tls import Tls

    tls = Tls(settings.certificate, settings.client_certificate, settings.client_key, proxy)
    return Connection(address, tls.dial)


def signer(
    signal: str, address: Address, environ: Mapping[str, str], *, is_certain: bool
) -> Sign | None:
    """What signs requests to `address`; None if it is not AWS's OTLP, unless that `is_certain`."""
    from lambdatrace.sigv4 import Credentials, endpoint_of, signed_headers

    endpoint = endpoint_of(address.host)
    if endpoint is None and not is_certain:
        return None
    service, region = endpoint or (SERVICES[signal], environ.get("AWS_REGION", ""))

    def sign(headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        credentials = Credentials.from_env(environ)  # each time: Lambda replaces them
        if credentials is None:
            endpoint = f"https://{address.authority}"
            raise SendError(
                f"{endpoint}: there are no AWS credentials to sign with; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or LAMBDATRACE_OTLP_SIGV4=false"
            )
        # Without those that a proxy on the way may change or take, and the one that this replaces.
        signed = {
            name: value
            for name, value in headers.items()
            if name.lower() not in ("user-agent", "proxy-authorization", "authorization")
        }
        return signed_headers(
            address.path,
            {"Host": address.authority, **signed},
            body,
            credentials,
            region,
            service,
            time.time(),
        )

    return sign
