-- Every span of the given traces (ids in hex), each trace from its first span on.
SELECT * EXCEPT (received)
FROM spans FINAL
WHERE trace_id IN (SELECT toFixedString(unhex(arrayJoin({trace_ids:Array(String)})), 16))
ORDER BY trace_id, start_time_unix_nano, span_id
LIMIT {spans_max:UInt32}
