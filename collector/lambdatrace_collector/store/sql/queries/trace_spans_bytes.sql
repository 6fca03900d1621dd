-- The spans of the given traces (ids in hex) that start in [start_ns_min, start_ns_max], each trace from its first span on.
SELECT * EXCEPT (received)
FROM spans FINAL
WHERE trace_id IN (SELECT toFixedString(unhex(arrayJoin({trace_ids:Array(String)})), 16))
  AND start_time_unix_nano >= {start_ns_min:UInt64}
  AND start_time_unix_nano <= {start_ns_max:UInt64}
ORDER BY trace_id, start_time_unix_nano, span_id
LIMIT {spans_max:UInt32}
