"""What a harness is told: where it listens, whom it tells, how it bounds itself."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from lambdatrace.harness import x_ray
from lambdatrace.harness.concurrency import CONCURRENCY_MAX
from lambdatrace.harness.errors import HarnessSettingsError
from lambdatrace.harness.platform_logs import STYLE_2025, STYLES

PORT_MAX = 65535
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")  # as in the ARNs of functions


@dataclass(frozen=True)
class ServiceSettings:
    """Raises HarnessSettingsError for what cannot work."""

    host: str = "127.0.0.1"
    port: int = 0
    region: str = "us-east-1"
    collector_url: str = ""
    idle_timeout_s: float = 600.0
    concurrency_max: int = CONCURRENCY_MAX
    private_tmp: bool = True
    aws_endpoint_url: str = ""  # where destinations and dead-letter queues are
    limits_cpu: bool = False
    uses_control_groups: bool = True
    x_ray_daemon: str = ""
    platform_log_style: str = STYLE_2025

    def __post_init__(self) -> None:
        if self.platform_log_style not in STYLES:
            raise HarnessSettingsError(
                f"platform log style '{self.platform_log_style}': expected {' or '.join(STYLES)}"
            )
        if self.collector_url and not _is_url(self.collector_url):
            raise HarnessSettingsError(
                f"collector '{self.collector_url}': expected a URL, as http://127.0.0.1:4318"
            )
        if self.aws_endpoint_url and not _is_url(self.aws_endpoint_url):
            raise HarnessSettingsError(
                f"AWS endpoint '{self.aws_endpoint_url}': expected a URL, as http://127.0.0.1:5000"
            )
        if not _REGION.fullmatch(self.region):
            raise HarnessSettingsError(f"region '{self.region}': expected one as us-east-1")
        if self.x_ray_daemon:
            x_ray.daemon_address(self.x_ray_daemon)
        if not 0 <= self.port <= PORT_MAX:
            raise HarnessSettingsError(f"port {self.port}: expected 0 to {PORT_MAX}")
        if not 0 < self.idle_timeout_s < math.inf:
            raise HarnessSettingsError(
                f"idle timeout {self.idle_timeout_s:g} s: expected more than 0"
            )
        if self.concurrency_max < 1:
            raise HarnessSettingsError(f"concurrency {self.concurrency_max}: expected at least 1")


def _is_url(text: str) -> bool:
    """Whether `text` is a URL of http or https with a host, and a port if it names one."""
    try:
        parts = urlsplit(text)
        is_port = parts.port != 0
    except ValueError:  # brackets that are not closed, a port that is none
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_port
