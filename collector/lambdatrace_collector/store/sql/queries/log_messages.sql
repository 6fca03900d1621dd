-- The events of a page whose positions are known.
SELECT timestamp_ms, event_id, log_stream, ingestion_ms, message
FROM log_events
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND timestamp_ms >= {first_ms:Int64} AND timestamp_ms <= {last_ms:Int64}
  AND event_id IN {event_ids:Array(UInt128)}
ORDER BY timestamp_ms, event_id
LIMIT 1 BY timestamp_ms, event_id
