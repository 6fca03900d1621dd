-- Events of some groups that have arrived and whose ids are known, in order of arrival.
SELECT log_group, log_stream, timestamp_ms, ingestion_ms, event_id, message
FROM log_events
WHERE account = {account:String} AND region = {region:String}
  AND log_group IN {log_groups:Array(String)}
  AND event_id >= {first_id:UInt128} AND event_id <= {last_id:UInt128}
  AND event_id IN {event_ids:Array(UInt128)}
ORDER BY event_id
LIMIT 1 BY event_id
