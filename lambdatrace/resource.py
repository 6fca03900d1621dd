"""What all that is sent by OTLP is of: the function, as OpenTelemetry names its facts."""

from __future__ import annotations

import os

from lambdatrace import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from lambdatrace.invocation import Function


def resource_attributes(
    function: Function, service_name: str, configured: Mapping[str, str]
) -> dict[str, Any]:
    """The OpenTelemetry resource of the environment of `function`; `configured` attributes win.

    Source: OpenTelemetry semantic conventions, "AWS Lambda", "FaaS" and "Cloud" resources.
    """
    attributes: dict[str, Any] = {
        "service.name": service_name or configured.get("service.name") or function.name,
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": function.region,
        "faas.name": function.name,
        "faas.version": function.version,
        "faas.instance": function.instance,
        "faas.max_memory": function.memory_bytes,
        "aws.log.group.names": [function.log_group] if function.log_group else [],
        "aws.log.stream.names": [function.log_stream] if function.log_stream else [],
        "telemetry.sdk.name": "lambdatrace",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": __version__,
    }
    if function.is_multi_concurrent:
        attributes["process.pid"] = os.getpid()  # the workers share one log stream
    configured = {key: value for key, value in configured.items() if key != "service.name"}
    return {key: value for key, value in {**attributes, **configured}.items() if value}
