-- The newest traces with a span that matches, by that span's start. Empty text matches every name.
-- Partitions follow the time of arrival, so that its bound leaves whole days unread.
SELECT lower(hex(trace_id)) AS trace_id
FROM spans
WHERE ({service_name:String} = '' OR service_name = {service_name:String})
  AND ({operation_name:String} = '' OR name = {operation_name:String})
  AND start_time_unix_nano >= {start_ns_min:UInt64}
  AND start_time_unix_nano <= {start_ns_max:UInt64}
  AND received >= fromUnixTimestamp({received_s_min:Int64})
GROUP BY trace_id
ORDER BY max(start_time_unix_nano) DESC, trace_id
LIMIT {traces_max:UInt32}
