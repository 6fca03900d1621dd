"""What is written about an environment's life: log events, and events for who has subscribed.

Each thing that happens is told here once. In the text format it is a line, or none; in JSON it is a
record, if its level is kept; and where an extension has subscribed, or still may, an event. Without
subscribers and with the text format, which is most environments, an invoke costs its three lines.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lambdatrace.harness import platform_logs, sandbox_network, telemetry_events
from lambdatrace.harness.platform_logs import STYLE_2023
from lambdatrace.harness.telemetry import LOGS_DROPPED_REASON, Telemetry
from lambdatrace.harness.telemetry_events import SUCCESS, TelemetryEvent, outcome, system_level
from lambdatrace.harness.tracing import ACTIVE, recorded_segment

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambdatrace.harness.deployment import Deployment
    from lambdatrace.harness.extensions_api import Extension
    from lambdatrace.harness.invocation import Invocation
    from lambdatrace.harness.log_stream import LogTail
    from lambdatrace.harness.platform_logs import Report
    from lambdatrace.harness.runtime_api import Answer

FUNCTION, EXTENSION = "function", "extension"
INIT, SUPPRESSED_INIT, RESTORE = "init", "invoke", "restore"


class EnvironmentLog:
    """The log of one environment. `write` takes each log event: its time (Unix ms) and text.

    Times are the machine's until they are written: then they are those of the harness's clock.
    Subscribers, which run by the machine's, are told that.
    """

    def __init__(
        self,
        deployment: Deployment,
        initialization_type: str,
        write: Callable[[int, str], None],
    ) -> None:
        self.is_plain = False  # text format, and nobody listens
        self._function = deployment.function
        self._function_version = deployment.version
        self._config = deployment.function.logging_config
        self._style = deployment.surroundings.platform_log_style
        self._clock = deployment.surroundings.clock
        self._initialization_type = initialization_type
        self._write = write
        self._telemetry: Telemetry | None = None
        self._tail: LogTail | None = None  # of the running invoke, if its caller wants it
        self._has_init_runtime_done = False
        self._is_traced = deployment.function.tracing == ACTIVE
        full_version = deployment.interpreter.full_version
        self._version = platform_logs.runtime_version(deployment.runtime, full_version)
        self._version_arn = platform_logs.runtime_version_arn(full_version, deployment.region)

    # Subscriptions

    def open_subscriptions(self, api_port: int, *, is_private: bool) -> None:
        """An init begins: its events are kept for who subscribes while it runs.

        `api_port` is that of the environment's APIs, `is_private` whether it has mounts of its own.
        """
        if self._telemetry is None:
            address, hosts = sandbox_network.address_and_hosts(api_port, is_private=is_private)
            self._telemetry = Telemetry(
                address, hosts, self.logs_dropped, is_json=self._config.is_json
            )
        self._telemetry.open_subscriptions()
        self._telemetry.resume()
        self.is_plain = False

    def close_subscriptions(self) -> None:
        """The init has ended: what nobody has subscribed to is made no more."""
        if self._telemetry:
            self._telemetry.close_subscriptions()
            if not self._telemetry.has_subscribers:
                self._telemetry = None
        self.is_plain = self._telemetry is None and not self._config.is_json

    def subscribe(self, extension_name: str, api: str, body: bytes) -> Answer:
        """An extension subscribes; gives what it is answered."""
        if self._telemetry is None:  # nobody did while the init ran
            self._telemetry = Telemetry("", (), self.logs_dropped, is_json=False)
            self._telemetry.close_subscriptions()
            answer = self._telemetry.subscribe(extension_name, api, body).answer
            self._telemetry = None
            return answer
        step = self._telemetry.subscribe(extension_name, api, body)
        if step.subscription:
            types = step.subscription.types
            line = platform_logs.subscription(api, extension_name, step.state, types)
            record = {"name": extension_name, "state": step.state, "types": list(types)}
            self._say(f"platform.{api.lower()}Subscription", record, line)
        return step.answer

    def resume(self) -> None:
        """The processes run."""
        if self._telemetry:
            self._telemetry.resume()

    def pause(self) -> None:
        """The processes are stopped, or gone."""
        if self._telemetry:
            self._telemetry.pause()

    def flush(self) -> None:
        """The environment's processes are told to end: they get what is left."""
        if self._telemetry:
            self._telemetry.resume()
            self._telemetry.flush()

    async def close(self) -> None:
        """The environment is gone."""
        if self._telemetry:
            await self._telemetry.close()

    def logs_dropped(self, records: int, dropped_bytes: int) -> None:
        """A subscriber has not kept up."""
        record = {
            "reason": LOGS_DROPPED_REASON,
            "droppedRecords": records,
            "droppedBytes": dropped_bytes,
        }
        self._say("platform.logsDropped", record)

    # Init and restore

    def init_start(self, phase: str, log_stream: str) -> None:
        """An init begins; `phase` is `init`, or `invoke` for a suppressed one."""
        self._has_init_runtime_done = False
        record = {
            "initializationType": self._initialization_type,
            "phase": phase,
            **self._facts(log_stream),
        }
        line = platform_logs.init_start(self._version, self._version_arn)
        self._say("platform.initStart", record, line)

    def init_runtime_done(self, phase: str, status: str = SUCCESS, error_type: str = "") -> None:
        """The runtime has loaded the function, or has failed to; told once an init.

        With phase `restore`, it has run its hooks.
        """
        if phase == RESTORE:
            self._say("platform.restoreRuntimeDone", outcome(status, error_type))
            return
        if not self._has_init_runtime_done:
            self._has_init_runtime_done = True
            record = {"initializationType": self._initialization_type, "phase": phase}
            self._say("platform.initRuntimeDone", {**record, **outcome(status, error_type)})

    def init_report(
        self, phase: str, duration_ms: float, status: str = SUCCESS, error_type: str = ""
    ) -> None:
        """An init has ended. One that succeeded while a request waited has no line."""
        self.init_runtime_done(phase, status, error_type)
        record = {
            "initializationType": self._initialization_type,
            "phase": phase,
            **outcome(status, error_type),
            "metrics": {"durationMs": round(duration_ms, 3)},
        }
        line = ""
        if status != SUCCESS:
            line = platform_logs.init_report(duration_ms, phase, status, error_type)
        elif self._initialization_type != "on-demand" and phase == INIT:
            line = platform_logs.init_report(duration_ms, phase)
        self._say("platform.initReport", record, line)

    def extension(self, extension: Extension) -> None:
        """The state of an extension at the end of an init."""
        state, events = extension.state.value, extension.events
        record: dict[str, Any] = {
            "name": extension.name,
            "state": state,
            "events": list(events),
        }
        if extension.error_type:
            record["errorType"] = extension.error_type
        line = platform_logs.extension(extension.name, state, events, extension.error_type)
        self._say("platform.extension", record, line)

    def restore_start(self, log_stream: str) -> None:
        """A snapshot is restored."""
        line = platform_logs.restore_start(self._version, self._version_arn)
        self._say("platform.restoreStart", self._facts(log_stream), line)

    def restore_report(
        self, duration_ms: float, status: str = SUCCESS, error_type: str = ""
    ) -> None:
        """A restore has ended."""
        record = {
            **outcome(status, error_type),
            "metrics": {"durationMs": round(duration_ms, 3)},
        }
        said = "" if status == SUCCESS else status
        line = platform_logs.restore_report(duration_ms, said, error_type)
        self._say("platform.restoreReport", record, line)

    # Invokes

    def start(self, invocation: Invocation, time_ms: int = 0) -> None:
        """An invoke begins."""
        self._tail = invocation.log_tail
        line = platform_logs.start(invocation.request_id, self._function_version)
        if self.is_plain:
            self._put(time_ms or int(time.time() * 1000), line)
            return
        record = telemetry_events.start(invocation, self._function_version)
        self._say("platform.start", self._with_span_id(record, invocation), line, time_ms)

    def runtime_done(self, invocation: Invocation, ended_ns: int, result_began_ns: int) -> None:
        """The runtime is done with an invoke; extensions may not be. Told unless `is_plain`.

        `result_began_ns` is when its response or error began to arrive.
        """
        record = telemetry_events.runtime_done(invocation, ended_ns, result_began_ns)
        self._say("platform.runtimeDone", self._with_span_id(record, invocation))

    def report(
        self,
        invocation: Invocation,
        figures: Report,
        ended_ns: int,
        *,
        has_extensions: bool,
        fault: str = "",
    ) -> None:
        """An invoke is over; `fault` is what Lambda has to say of one that failed."""
        now_ms = int(time.time() * 1000)
        end = platform_logs.end(invocation.request_id)
        line = figures.line(self._style)
        if fault and self._style == STYLE_2023 and not self._config.is_json:
            error_type = figures.error_type
            self._put(now_ms, platform_logs.fault(invocation.request_id, fault, error_type))
        if self._is_traced:
            recorded = recorded_segment(invocation.trace_header)
            line += platform_logs.xray(*recorded) if recorded else ""
        if self.is_plain:
            self._put(now_ms, end)
            self._put(now_ms, line)
            self._tail = None
            return
        if not invocation.runtime_done_ns:
            failed = telemetry_events.runtime_failed(invocation, figures, ended_ns)
            self._say("platform.runtimeDone", self._with_span_id(failed, invocation))
        if figures.status:
            fault = f"RequestId: {invocation.request_id}\tStatus: {figures.status}\n"
            self._emit(TelemetryEvent(now_ms, "platform.fault", fault))
        self._say("platform.end", {"requestId": invocation.request_id}, end, now_ms)
        record = telemetry_events.report(invocation, figures, ended_ns if has_extensions else 0)
        self._say("platform.report", self._with_span_id(record, invocation), line, now_ms)
        self._tail = None

    def wrote(self, time_ms: int, message: str, who: str = FUNCTION) -> None:
        """The function or an extension wrote one log event."""
        if self.is_plain:
            self._put(time_ms, message)
            return
        self._emit(TelemetryEvent(time_ms, who, message))
        is_filtered = self._config.is_json and who == FUNCTION
        is_kept = not is_filtered or self._config.keeps_application(message)
        self._put(time_ms, message, is_kept=is_kept)

    def _put(self, time_ms: int, message: str, *, is_kept: bool = True) -> None:
        """Writes a log event; the tail has those as well whose level is not kept."""
        if self._tail:
            self._tail.add(message)
        if is_kept:
            self._write(time_ms + self._ahead_ms(), message)

    def _ahead_ms(self) -> int:
        return int(self._clock.ahead_s() * 1000)

    def _with_span_id(self, record: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
        """The record with the segment's id in its tracing context, where X-Ray records one."""
        recorded = recorded_segment(invocation.trace_header) if self._is_traced else None
        if recorded:
            record["tracing"] = {"spanId": recorded[1], **record["tracing"]}
        return record

    def _facts(self, log_stream: str) -> dict[str, Any]:
        return {
            "runtimeVersion": self._version,
            "runtimeVersionArn": self._version_arn,
            "functionName": self._function.name,
            "functionVersion": self._function_version,
            "instanceId": log_stream,
            "instanceMaxMemory": self._function.memory_size_mb * 2**20,
        }

    def _say(self, type_: str, record: dict[str, Any], line: str = "", time_ms: int = 0) -> None:
        """Tells a platform event to the log, in its format, and to the subscribers."""
        event = TelemetryEvent(time_ms or int(time.time() * 1000), type_, record)
        if not self._config.is_json:
            if line:
                self._put(event.time_ms, line)
        elif type_ != "platform.end":
            is_kept = self._config.keeps_system(system_level(event))
            stamped = event._replace(time_ms=event.time_ms + self._ahead_ms())
            self._put(event.time_ms, stamped.log_line(), is_kept=is_kept)
        self._emit(event)

    def _emit(self, event: TelemetryEvent) -> None:
        if self._telemetry:
            self._telemetry.emit(event)
