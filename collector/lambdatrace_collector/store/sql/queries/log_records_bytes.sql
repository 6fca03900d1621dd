-- OTLP log records of a trace and span (ids in hex) and of a log group; empty text matches all.
SELECT * EXCEPT (account, region, log_group, log_stream, received_ms)
FROM log_records FINAL
WHERE ({trace_id:String} = '' OR trace_id = unhex({trace_id:String}))
  AND ({span_id:String} = '' OR span_id = unhex({span_id:String}))
  AND ({log_group:String} = '' OR log_group = {log_group:String})
ORDER BY time_unix_nano DESC, event_id DESC
LIMIT {records_max:UInt32}
