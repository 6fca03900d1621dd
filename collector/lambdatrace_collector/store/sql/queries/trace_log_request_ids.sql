-- The invocations of a trace (its id in hex) that its log events name. Its last 24 digits are in the message however
-- it is written; what has them not is not looked into.
SELECT DISTINCT request_id
FROM log_events
WHERE timestamp_ms >= {start_ms:Int64} AND timestamp_ms <= {end_ms:Int64}
  AND positionCaseInsensitive(message, substring({trace_id:String}, 9)) > 0
  AND trace_id = {trace_id:String} AND request_id != ''
LIMIT {ids_max:UInt32}
