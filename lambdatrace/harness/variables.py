"""The environment variables a runtime process and an external extension see."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lambdatrace.harness.clock import SystemClock
from lambdatrace.harness.function import LATEST, MANAGED_INSTANCES, ON_DEMAND, SNAP_START
from lambdatrace.harness.logging_config import LEVEL_DEFAULT
from lambdatrace.harness.platform_logs import STYLE_2025

if TYPE_CHECKING:
    from lambdatrace.harness.clock import Clock
    from lambdatrace.harness.function import Function, Interpreter

# Placeholders: enough for botocore to sign with, of no use anywhere else.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "ASIALAMBDATRACELOCAL",
    "AWS_SECRET_ACCESS_KEY": "local-placeholder-secret",
    "AWS_SESSION_TOKEN": "local-placeholder-token",
}

# What an external extension does not get of the runtime's variables
# (aws-lambda-runtime-interface-emulator, `internal/lambda/rapidcore/env`).
_RUNTIME_ONLY = frozenset(
    {
        "_HANDLER",
        "_LAMBDA_TELEMETRY_LOG_FD",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)


@dataclass(frozen=True)
class Surroundings:
    """What functions are offered: region, the harness's Lambda API, the collector if any."""

    region: str
    lambda_url: str
    collector_url: str = ""
    x_ray_daemon: str = "127.0.0.1:2000"  # AWS_XRAY_DAEMON_ADDRESS
    platform_log_style: str = STYLE_2025  # differs between AWS's Regions
    clock: Clock = field(default_factory=SystemClock)  # of time stamps


def execution_environment_name(function: Function, interpreter: Interpreter) -> str:
    """The value of AWS_EXECUTION_ENV, by which the runtime client decides how it polls."""
    return f"AWS_Lambda_{function.runtime or 'python' + interpreter.version}"


def runtime_variables(
    function: Function,
    interpreter: Interpreter,
    surroundings: Surroundings,
    *,
    runtime_api: str,
    log_stream: str,
    log_fd: int,
    root: str,
    opt: str,
    temp_dir: str,
    initialization_type: str = ON_DEMAND,
    version: str = LATEST,
    log_socket: str = "",
) -> dict[str, str]:
    """All variables of the runtime process; the function's own win where Lambda lets them.

    `root` is where the code is seen, and `opt` the layers; `temp_dir` is given when /tmp itself is
    not private.
    On Managed Instances the workers write to `log_socket`, and `log_fd` is nobody's.
    Source: AWS Lambda developer guide, "Using Lambda environment variables".
    """
    site = f"{opt}/python/lib/python{interpreter.version}/site-packages"
    own = dict(function.environment)
    python_path = [f"{opt}/python", site] if function.layers else []
    if "PYTHONPATH" in own:
        python_path.append(own.pop("PYTHONPATH"))
    variables = {
        **CREDENTIALS,
        "AWS_REGION": surroundings.region,
        "AWS_DEFAULT_REGION": surroundings.region,
        "AWS_EXECUTION_ENV": execution_environment_name(function, interpreter),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": surroundings.x_ray_daemon,
        "LAMBDA_TASK_ROOT": root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "LD_LIBRARY_PATH": f"{root}:{root}/lib:{opt}/lib",
        "PATH": f"{os.environ.get('PATH', os.defpath)}:{opt}/bin",
        "PWD": root,
        "SHLVL": "0",
        "TZ": ":UTC",
        "_HANDLER": function.handler,
        "_LAMBDA_TELEMETRY_LOG_FD": str(log_fd),
        **_endpoints(surroundings),
        **own,
    }
    if function.logging_config.is_json:
        variables.setdefault("AWS_LAMBDA_LOG_FORMAT", function.logging_config.log_format)
        level = function.logging_config.application_log_level or LEVEL_DEFAULT
        variables.setdefault("AWS_LAMBDA_LOG_LEVEL", level)
    if initialization_type == SNAP_START:
        # A snapshot serves many environments, each with a log stream of its own (developer guide,
        # "Monitoring for Lambda SnapStart").
        del variables["AWS_LAMBDA_LOG_GROUP_NAME"], variables["AWS_LAMBDA_LOG_STREAM_NAME"]
    if initialization_type == MANAGED_INSTANCES:
        variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(function.max_concurrency)
        variables["_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"] = log_socket
        del variables["_LAMBDA_TELEMETRY_LOG_FD"]
    if python_path:
        variables["PYTHONPATH"] = ":".join(python_path)
    if temp_dir:
        variables.setdefault("TMPDIR", temp_dir)
    wrapper = variables.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if wrapper.startswith("/opt/") and opt != "/opt":
        variables["AWS_LAMBDA_EXEC_WRAPPER"] = opt + wrapper.removeprefix("/opt")
    return variables


def extension_variables(runtime: dict[str, str]) -> dict[str, str]:
    """Of the runtime's variables, those an external extension sees."""
    return {
        key: value
        for key, value in runtime.items()
        if key not in _RUNTIME_ONLY and not key.startswith("_")
    }


def _endpoints(surroundings: Surroundings) -> dict[str, str]:
    """Where the AWS SDKs and OpenTelemetry exporters of a function find the local services."""
    endpoints = {"AWS_ENDPOINT_URL_LAMBDA": surroundings.lambda_url}
    if surroundings.collector_url:
        endpoints["AWS_ENDPOINT_URL_CLOUDWATCH"] = surroundings.collector_url
        endpoints["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"] = surroundings.collector_url
        endpoints["OTEL_EXPORTER_OTLP_ENDPOINT"] = surroundings.collector_url
    return endpoints
