"""A Lambda function as the harness runs it: what `CreateFunction` would be told."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lambdatrace.harness.errors import FunctionConfigurationError
from lambdatrace.harness.event_invoke_config import (
    DEAD_LETTER_SERVICES,
    EventInvokeConfig,
    check_destination,
)
from lambdatrace.harness.limits import EPHEMERAL_STORAGE_MB_MAX, EPHEMERAL_STORAGE_MB_MIN
from lambdatrace.harness.logging_config import LoggingConfig
from lambdatrace.harness.tracing import PASS_THROUGH, TRACING_MODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ACCOUNT_ID = "123456789012"  # AWS's own documentation account: no real ARN can be meant
TIMEOUT_S_MAX = 900
MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 10240
ENVIRONMENT_BYTES_MAX = 4096
LAYERS_MAX = 5
LATEST = "$LATEST"
_NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
_HANDLER = re.compile(r"[^\s]{1,128}")
RUNTIMES = ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
_VARIABLE = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_INTERPRETER_QUERY_S = 30.0

# Values of AWS_LAMBDA_INITIALIZATION_TYPE.
ON_DEMAND = "on-demand"
PROVISIONED_CONCURRENCY = "provisioned-concurrency"
SNAP_START = "snap-start"
MANAGED_INSTANCES = "lambda-managed-instances"
INITIALIZATION_TYPES = (ON_DEMAND, PROVISIONED_CONCURRENCY, SNAP_START, MANAGED_INSTANCES)
MAX_CONCURRENCY_DEFAULT = 16  # per vCPU with Python
MAX_CONCURRENCY_MAX = 1600

X86_64, ARM64 = "x86_64", "arm64"
PER_TENANT = "PER_TENANT"

# Names a function may not set (developer guide, "Defined runtime environment variables"); the
# unreserved ones of that table (LANG, PATH, TZ, AWS_XRAY_*, AWS_LAMBDA_LOG_*) may be.
RESERVED_VARIABLES = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_LAMBDA_TELEMETRY_LOG_FD",
        "_X_AMZN_TRACE_ID",
    }
)


@dataclass(frozen=True)
class Function:
    """What to run, within which limits. Raises FunctionConfigurationError for values AWS refuses.

    `handler` is `module.function` below `code_dir`, which becomes the working directory.
    `timeout_s` may be a fraction, unlike on AWS, so that a timeout can be tested quickly.
    `runtime` (`python3.12`) is run by an interpreter of that version with awslambdaric: this one,
    `python3.12` on the path, or one of pyenv's. `python` names the interpreter instead, by default
    this one; with both, `runtime` is what the function is told it runs on. From `python3.12` on the
    runtime client waits for events in a thread, so that SIGTERM handlers run, and writes JSON
    with unescaped unicode; a warm invoke then takes 0.2 to 0.4 ms longer.
    `layers` are folders or zip files laid over each other as /opt, the last one on top.
    With `initialization_type` `provisioned-concurrency`, `provisioned_concurrent_executions`
    environments are initialized when the function is added, and further ones on demand. With
    `snap-start` one is initialized then and frozen before it is ready; the first event restores it.
    It is restored in the same process: its memory is not copied, so further environments are
    initialized for themselves before they are restored. With `lambda-managed-instances`,
    `execution_environments` are initialized, are not frozen, and take `max_concurrency` events
    each at a time, in as many worker processes; further events are refused.
    `tracing` is the Mode of the function's TracingConfig: with `Active`, invokes whose caller has
    not decided are sampled by X-Ray's rule; with `PassThrough` they are not.
    `dead_letter_target_arn` is a queue or topic for events given up, `event_invoke_config` the rest
    of what becomes of asynchronous invokes. `architecture` is what is charged for; what runs is
    this machine's. `ephemeral_storage_mb` is the size of /tmp. With `lambda_insights` there is a
    Lambda Insights event for each invoke. With the `tenant_isolation_mode` `PER_TENANT`, invokes
    name a tenant, and no environment serves two of them.
    """

    name: str
    handler: str
    code_dir: Path = field(default_factory=Path.cwd)
    timeout_s: float = 3
    memory_size_mb: int = 128
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    runtime: str = ""
    layers: Sequence[Path | str] = ()
    logging_config: LoggingConfig = field(default_factory=LoggingConfig)
    initialization_type: str = ON_DEMAND
    provisioned_concurrent_executions: int = 1
    execution_environments: int = 1
    max_concurrency: int = MAX_CONCURRENCY_DEFAULT
    tracing: str = PASS_THROUGH
    dead_letter_target_arn: str = ""
    event_invoke_config: EventInvokeConfig = field(default_factory=EventInvokeConfig)
    architecture: str = X86_64
    ephemeral_storage_mb: int = EPHEMERAL_STORAGE_MB_MIN
    lambda_insights: bool = False
    tenant_isolation_mode: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "code_dir", Path(self.code_dir).absolute())
        object.__setattr__(self, "layers", tuple(Path(layer).absolute() for layer in self.layers))
        object.__setattr__(self, "environment", dict(self.environment))
        self._check_identity()
        object.__setattr__(self, "python", self._interpreter())
        self._check_limits()
        self._check_environment()

    @property
    def log_group(self) -> str:
        """The CloudWatch log group of the function."""
        return self.logging_config.log_group or f"/aws/lambda/{self.name}"

    @property
    def initialized_ahead(self) -> int:
        """How many environments are initialized before the first event."""
        if self.initialization_type == PROVISIONED_CONCURRENCY:
            return self.provisioned_concurrent_executions
        if self.is_managed:
            return self.execution_environments
        return 1 if self.initialization_type == SNAP_START else 0

    @property
    def is_managed(self) -> bool:
        """It runs on Managed Instances."""
        return self.initialization_type == MANAGED_INSTANCES

    def arn(self, region: str) -> str:
        """The function's ARN, without a version."""
        return f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{self.name}"

    def _check_identity(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise FunctionConfigurationError(
                f"function name '{self.name}': expected 1 to 64 letters, digits, '-' or '_'"
            )
        if not _HANDLER.fullmatch(self.handler) or "." not in self.handler.strip("."):
            raise FunctionConfigurationError(
                f"handler '{self.handler}' of {self.name}: expected module.function"
            )
        if self.runtime and self.runtime not in RUNTIMES:
            raise FunctionConfigurationError(
                f"runtime '{self.runtime}' of {self.name}: expected one of {', '.join(RUNTIMES)}"
            )
        if not self.code_dir.is_dir():
            raise FunctionConfigurationError(
                f"code folder {self.code_dir} of {self.name} does not exist"
            )
        for layer in self.layers:
            if not Path(layer).exists():
                raise FunctionConfigurationError(f"layer {layer} of {self.name} does not exist")

    def _interpreter(self) -> str:
        if not self.python:
            return find_interpreter(self.runtime) if self.runtime else sys.executable
        # It is run in other folders than this one; a link of a virtual environment stays one.
        return str(Path(self.python).absolute()) if os.sep in self.python else self.python

    def _check_limits(self) -> None:
        if not 0 < self.timeout_s <= TIMEOUT_S_MAX:
            raise FunctionConfigurationError(
                f"timeout of {self.name} is {self.timeout_s} s: expected up to {TIMEOUT_S_MAX} s"
            )
        if not MEMORY_MB_MIN <= self.memory_size_mb <= MEMORY_MB_MAX:
            raise FunctionConfigurationError(
                f"memory size of {self.name} is {self.memory_size_mb} MB: "
                f"expected {MEMORY_MB_MIN} to {MEMORY_MB_MAX} MB"
            )
        if not EPHEMERAL_STORAGE_MB_MIN <= self.ephemeral_storage_mb <= EPHEMERAL_STORAGE_MB_MAX:
            raise FunctionConfigurationError(
                f"ephemeral storage of {self.name} is {self.ephemeral_storage_mb} MB: "
                f"expected {EPHEMERAL_STORAGE_MB_MIN} to {EPHEMERAL_STORAGE_MB_MAX} MB"
            )
        if self.initialization_type not in INITIALIZATION_TYPES:
            raise FunctionConfigurationError(
                f"initialization type '{self.initialization_type}' of {self.name}: "
                f"expected one of {', '.join(INITIALIZATION_TYPES)}"
            )
        if self.tracing not in TRACING_MODES:
            raise FunctionConfigurationError(
                f"tracing mode '{self.tracing}' of {self.name}: "
                f"expected one of {', '.join(TRACING_MODES)}"
            )
        self._check_concurrency()
        if len(self.layers) > LAYERS_MAX:
            raise FunctionConfigurationError(
                f"{self.name} has {len(self.layers)} layers: Lambda takes {LAYERS_MAX}"
            )
        if self.architecture not in (X86_64, ARM64):
            raise FunctionConfigurationError(
                f"architecture '{self.architecture}' of {self.name}: expected {X86_64} or {ARM64}"
            )
        check_destination(
            self.dead_letter_target_arn,
            DEAD_LETTER_SERVICES,
            f"dead-letter target of {self.name}",
        )

    def _check_concurrency(self) -> None:
        if self.provisioned_concurrent_executions < 1:
            raise FunctionConfigurationError(
                f"{self.name} has {self.provisioned_concurrent_executions} provisioned concurrent "
                "executions: expected at least 1"
            )
        if self.execution_environments < 1:
            raise FunctionConfigurationError(
                f"{self.name} has {self.execution_environments} execution environments: "
                "expected at least 1"
            )
        if self.tenant_isolation_mode not in ("", PER_TENANT):
            raise FunctionConfigurationError(
                f"tenant isolation mode '{self.tenant_isolation_mode}' of {self.name}: "
                f"expected {PER_TENANT}"
            )
        if self.tenant_isolation_mode and self.initialization_type != ON_DEMAND:
            raise FunctionConfigurationError(
                f"{self.name} has tenants and initialization type '{self.initialization_type}': "
                f"Lambda isolates tenants with {ON_DEMAND} alone"
            )
        if not 1 <= self.max_concurrency <= MAX_CONCURRENCY_MAX:
            raise FunctionConfigurationError(
                f"{self.name} has a concurrency of {self.max_concurrency} in an environment: "
                f"expected 1 to {MAX_CONCURRENCY_MAX}"
            )

    def _check_environment(self) -> None:
        reserved = sorted(RESERVED_VARIABLES.intersection(self.environment))
        if reserved:
            raise FunctionConfigurationError(
                f"{self.name} sets {', '.join(reserved)}: Lambda reserves these variables"
            )
        for key, value in self.environment.items():
            if not _VARIABLE.fullmatch(key):
                raise FunctionConfigurationError(
                    f"variable '{key}' of {self.name}: a name starts with a letter and has "
                    "letters, digits and '_'"
                )
            if type(value) is not str or not _is_text(value):
                raise FunctionConfigurationError(
                    f"variable {key} of {self.name}: expected text without NUL characters, "
                    "and in UTF-8"
                )
        size = len(json.dumps(dict(self.environment), ensure_ascii=False).encode())
        if size > ENVIRONMENT_BYTES_MAX:
            raise FunctionConfigurationError(
                f"the variables of {self.name} take {size} bytes: "
                f"Lambda allows {ENVIRONMENT_BYTES_MAX}"
            )


def _is_text(value: str) -> bool:
    """Whether a process can have it in its environment, and a request carry it."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:  # a lone surrogate: what a command line has of a byte like 0xFF
        return False


@dataclass(frozen=True)
class Interpreter:
    """Facts of a Python interpreter: `3.11`, the full version, and the folders it loads from."""

    version: str
    full_version: str
    folders: tuple[str, ...]


_QUERY = """
import json, sys
import importlib.util
found = importlib.util.find_spec("awslambdaric") is not None
paths = [p for p in [sys.prefix, sys.base_prefix, *sys.path] if p]
print(json.dumps([list(sys.version_info[:3]), paths, found]))
"""


def find_interpreter(runtime: str) -> str:
    """The Python that functions of `runtime` (`python3.12`) run on: the first with awslambdaric.

    Raises FunctionConfigurationError if there is none.
    """
    from lambdatrace.layer.bytecode import candidates

    refused = []
    for candidate in candidates(runtime.removeprefix("python")):
        try:
            if f"python{inspect_interpreter(candidate).version}" == runtime:
                return candidate
        except FunctionConfigurationError as error:
            refused.append(str(error))
    has_no_client = [reason for reason in refused if "has no awslambdaric" in reason]
    remedy = next(iter(has_no_client), f"there is no {runtime} on PATH, nor of pyenv")
    raise FunctionConfigurationError(f"runtime '{runtime}' cannot be run: {remedy}")


@functools.lru_cache(maxsize=32)
def inspect_interpreter(python: str) -> Interpreter:
    """Asks the interpreter at `python`; FunctionConfigurationError when it runs no functions."""
    try:
        completed = subprocess.run(
            [python, "-c", _QUERY],
            capture_output=True,
            text=True,
            timeout=_INTERPRETER_QUERY_S,
            check=True,
            cwd="/",
        )
        version, folders, has_client = json.loads(completed.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise FunctionConfigurationError(f"python '{python}' cannot be run: {error}") from error
    if not has_client:
        raise FunctionConfigurationError(
            f"python '{python}' has no awslambdaric: install it with "
            f"'{python} -m pip install awslambdaric'"
        )
    short = ".".join(str(part) for part in version[:2])
    full = ".".join(str(part) for part in version)
    return Interpreter(short, full, tuple(dict.fromkeys(f for f in folders if Path(f).is_dir())))
