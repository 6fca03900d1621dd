-- The traces that the log events of an invocation name, the newest first.
SELECT trace_id
FROM log_events
WHERE timestamp_ms >= {start_ms:Int64} AND timestamp_ms <= {end_ms:Int64}
  AND position(message, {request_id:String}) > 0
  AND request_id = {request_id:String} AND trace_id != ''
GROUP BY trace_id
ORDER BY max(timestamp_ms) DESC, trace_id
LIMIT {traces_max:UInt32}
