-- The log events of a trace (its id in hex) and of invocations, by time.
SELECT account, region, log_group, log_stream, timestamp_ms, ingestion_ms, event_id, message, request_id
FROM log_events
WHERE timestamp_ms >= {start_ms:Int64} AND timestamp_ms <= {end_ms:Int64}
  AND ((positionCaseInsensitive(message, substring({trace_id:String}, 9)) > 0 AND trace_id = {trace_id:String})
       OR (multiSearchAny(message, {request_ids:Array(String)}) AND request_id IN {request_ids:Array(String)}))
ORDER BY timestamp_ms, event_id
LIMIT 1 BY timestamp_ms, event_id
LIMIT {events_max:UInt32}
