-- The traces with a span of an invocation, the newest first. An attribute is an encoded AnyValue: the tag of
-- text, its length, which is below 128, and the text.
SELECT lower(hex(trace_id)) AS trace_id
FROM spans
WHERE attributes['faas.invocation_id'] = concat('\n', char(length({request_id:String})), {request_id:String})
  AND start_time_unix_nano >= {start_ns_min:UInt64}
  AND start_time_unix_nano <= {start_ns_max:UInt64}
  AND received >= fromUnixTimestamp({received_s_min:Int64})
GROUP BY trace_id
ORDER BY max(start_time_unix_nano) DESC, trace_id
LIMIT {traces_max:UInt32}
