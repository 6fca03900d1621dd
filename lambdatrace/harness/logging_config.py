"""How a function's log is written: its format, what is filtered out of it, its log group.

Source: AWS Lambda developer guide, "Configuring advanced logging controls for Lambda functions";
API reference, `LoggingConfig`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from lambdatrace.harness.errors import FunctionConfigurationError

TEXT, JSON = "Text", "JSON"
APPLICATION_LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
SYSTEM_LOG_LEVELS = ("DEBUG", "INFO", "WARN")
LEVEL_DEFAULT = "INFO"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LOG_GROUP = re.compile(r"[a-zA-Z0-9\-_/.#]{1,512}")

# What the loggers of the runtimes write in place of AWS's names.
_SAME_LEVEL = {"WARNING": "WARN", "CRITICAL": "FATAL"}


@dataclass(frozen=True)
class LoggingConfig:
    """As `LoggingConfig` of CreateFunction. Raises FunctionConfigurationError for what AWS refuses.

    Levels go with the JSON format alone, where both are INFO by default. `log_group` is
    `/aws/lambda/<function>` by default.
    """

    log_format: str = TEXT
    application_log_level: str = ""
    system_log_level: str = ""
    log_group: str = ""

    def __post_init__(self) -> None:
        _check("LogFormat", self.log_format, (JSON, TEXT))
        for name, level, levels in (
            ("ApplicationLogLevel", self.application_log_level, APPLICATION_LOG_LEVELS),
            ("SystemLogLevel", self.system_log_level, SYSTEM_LOG_LEVELS),
        ):
            if level and not self.is_json:
                raise FunctionConfigurationError(
                    f"{name} is '{level}': levels can be set with LogFormat JSON alone"
                )
            if level:
                _check(name, level, levels)
        if self.log_group and not _LOG_GROUP.fullmatch(self.log_group):
            raise FunctionConfigurationError(
                f"log group '{self.log_group}': expected 1 to 512 letters, digits, or any of -_/.#"
            )

    @property
    def is_json(self) -> bool:
        """The log has JSON records."""
        return self.log_format == JSON

    def keeps_system(self, level: str) -> bool:
        """Whether a platform record of this level is written. Only asked for JSON."""
        wanted = self.system_log_level or LEVEL_DEFAULT
        return SYSTEM_LOG_LEVELS.index(level) >= SYSTEM_LOG_LEVELS.index(wanted)

    def keeps_application(self, message: str) -> bool:
        """Whether a line of the function is written. Only asked for JSON."""
        wanted = self.application_log_level or LEVEL_DEFAULT
        rank = APPLICATION_LOG_LEVELS.index(application_level(message))
        return rank >= APPLICATION_LOG_LEVELS.index(wanted)


def application_level(message: str) -> str:
    """The level of a function's line: its `level` where it is a JSON object that has one, or INFO.

    The key and its value are read in any case. Lambda heeds them only beside a `timestamp` in the
    form of RFC 3339.
    """
    fields = {key.lower(): value for key, value in (json_object(message) or {}).items()}
    level, timestamp = fields.get("level"), fields.get("timestamp")
    if not isinstance(level, str) or not isinstance(timestamp, str):
        return LEVEL_DEFAULT
    known = _SAME_LEVEL.get(level.upper(), level.upper())
    is_usable = known in APPLICATION_LOG_LEVELS and _TIMESTAMP.fullmatch(timestamp)
    return known if is_usable else LEVEL_DEFAULT


def json_object(message: str) -> dict[str, Any] | None:
    """The object that a line is in JSON, if it is one."""
    if not message.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check(name: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise FunctionConfigurationError(f"{name} is '{value}': expected {', '.join(values)}")
