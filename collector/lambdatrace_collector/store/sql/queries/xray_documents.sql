-- The segment documents of a trace (32 hex digits), in the order of their ids.
SELECT segment_id, parent_id, name, is_in_progress, document
FROM xray_segments FINAL
WHERE trace_id = {trace_id:String}
ORDER BY segment_id
LIMIT {segments_max:UInt32}
