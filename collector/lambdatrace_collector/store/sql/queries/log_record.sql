-- One log event, with the invocation and the trace it is of.
SELECT log_stream, timestamp_ms, ingestion_ms, message, request_id, trace_id
FROM log_events
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND timestamp_ms = {timestamp_ms:Int64} AND event_id = {event_id:UInt128}
LIMIT 1
