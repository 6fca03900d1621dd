"""A function with its versions, its aliases and what is set for the whole of it.

What `Harness(functions=…)` was given and what CreateFunction makes are the same: a
`DeployedFunction` whose version `$LATEST` runs a `Function`.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from lambdatrace.harness.errors import InvokeError
from lambdatrace.harness.event_invoke_config import (
    EVENT_AGE_S_MAX,
    RETRY_ATTEMPTS_MAX,
    EventInvokeConfig,
)
from lambdatrace.harness.function import LATEST
from lambdatrace.harness.recursion import function_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.function import Function
    from lambdatrace.harness.lambda_api.code import Code
    from lambdatrace.harness.pool import Pool

PENDING, ACTIVE, FAILED = "Pending", "Active", "Failed"
IN_PROGRESS, SUCCESSFUL = "InProgress", "Successful"
TERMINATE, ALLOW = "Terminate", "Allow"


def lambda_timestamp() -> str:
    """Now, as `LastModified` has it: `2026-01-31T12:00:00.000+0000`."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}+0000"


@dataclass(frozen=True)
class Status:
    """A State or LastUpdateStatus with its reason and reason's code."""

    value: str
    reason: str = ""
    code: str = ""


BEING_CREATED = Status(PENDING, "The function is being created.", "Creating")
BEING_UPDATED = Status(IN_PROGRESS, "The function is being created.", "Creating")


class Version:
    """One version: `$LATEST`, which changes, or a published one, which does not.

    `settings` are members of its configuration that Lambda keeps and the harness does not act on.
    `pool` runs it; None until it has become Active once.
    """

    def __init__(
        self,
        function: Function,
        code: Code,
        settings: dict[str, Any] | None = None,
        name: str = LATEST,
    ) -> None:
        self.name = name
        self.function = function
        self.code = code
        self.settings = settings or {}
        self.pool: Pool | None = None
        self.state = BEING_CREATED
        self.last_update = Status("")
        self.revision_id = str(uuid.uuid4())
        self.last_modified = lambda_timestamp()
        self.source_sha256 = ""  # of the code it was published from
        self.change = 0  # counts changes of code and configuration: what was published is known

    @property
    def is_busy(self) -> bool:
        """It is being created or updated, and can be neither changed nor published."""
        return self.state.value == PENDING or self.last_update.value == IN_PROGRESS

    def revise(self) -> None:
        """Something of it has changed."""
        self.revision_id = str(uuid.uuid4())


@dataclass
class Alias:
    """A name for a version, or for two of which the second gets a share of the invokes."""

    name: str
    version: str
    description: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    revision_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def revise(self) -> None:
        """Something of it has changed."""
        self.revision_id = str(uuid.uuid4())

    def choose(self, draw: Callable[[], float] = random.random) -> str:
        """The version one invoke goes to."""
        drawn = draw()
        for version, weight in self.weights.items():
            if drawn < weight:
                return version
            drawn -= weight
        return self.version


@dataclass(frozen=True)
class StoredEventInvokeConfig:
    """A FunctionEventInvokeConfig. What was not given is None, or empty for a destination.

    `effective` has Lambda's own values for what was not given. Raises FunctionConfigurationError
    for what Lambda refuses, so that no event meets it.
    """

    maximum_retry_attempts: int | None = None
    maximum_event_age_in_seconds: int | None = None
    on_success: str = ""
    on_failure: str = ""
    last_modified: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    effective: EventInvokeConfig = field(init=False)

    def __post_init__(self) -> None:
        retries, age_s = self.maximum_retry_attempts, self.maximum_event_age_in_seconds
        effective = EventInvokeConfig(
            RETRY_ATTEMPTS_MAX if retries is None else retries,
            EVENT_AGE_S_MAX if age_s is None else age_s,
            self.on_success,
            self.on_failure,
        )
        object.__setattr__(self, "effective", effective)


@dataclass(frozen=True)
class ProvisionedConcurrency:
    """A ProvisionedConcurrencyConfig of a version or an alias."""

    requested: int
    last_modified: str = field(default_factory=lambda_timestamp)


class DeployedFunction:
    """All that Lambda knows of one function. Keys of the dictionaries are qualifiers."""

    def __init__(self, arn: str, latest: Version) -> None:
        self.name = latest.function.name
        self.arn = arn
        self.lineage_hash = function_hash(arn)
        self.versions = {LATEST: latest}
        self.aliases: dict[str, Alias] = {}
        self.last_version = 0
        self.recursive_loop = TERMINATE
        self.tags: dict[str, str] = {}
        self.policies: dict[str, list[dict[str, Any]]] = {}
        self.event_invoke_configs: dict[str, StoredEventInvokeConfig] = {}
        given = latest.function.event_invoke_config
        if given != EventInvokeConfig():
            self.event_invoke_configs[LATEST] = StoredEventInvokeConfig(
                given.maximum_retry_attempts,
                given.maximum_event_age_in_seconds,
                given.on_success,
                given.on_failure,
            )
        self.provisioned: dict[str, ProvisionedConcurrency] = {}

    @property
    def latest(self) -> Version:
        """The version that changes."""
        return self.versions[LATEST]

    def qualified_arn(self, qualifier: str) -> str:
        """The ARN with a version's or alias's name; without, if there is none."""
        return f"{self.arn}:{qualifier}" if qualifier else self.arn

    def version(self, qualifier: str) -> Version:
        """The version an invoke of a qualifier runs. Raises InvokeError if there is none."""
        if not qualifier:
            return self.latest
        alias = self.aliases.get(qualifier)
        found = self.versions.get(alias.choose() if alias else qualifier)
        if found is None:
            raise not_found(self.qualified_arn(qualifier))
        return found

    def event_invoke_config(self, qualifier: str) -> EventInvokeConfig:
        """What becomes of asynchronous invokes of a qualifier."""
        stored = self.event_invoke_configs.get(qualifier or LATEST)
        return stored.effective if stored else EventInvokeConfig()

    def pool(self, qualifier: str) -> Pool:
        """What runs an invoke of a qualifier. Raises InvokeError as AWS would answer."""
        version = self.version(qualifier)
        if version.pool is None:
            raise InvokeError(
                409,
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the "
                f"following state: {version.state.value}",
            )
        return version.pool


def not_found(arn: str) -> InvokeError:
    """The error for a function, version or alias that does not exist."""
    return InvokeError(404, "ResourceNotFoundException", f"Function not found: {arn}")
