-- The invocations of a trace (its id in hex) that its spans name, and in which time it is, in ms: without spans all
-- time. An attribute is an encoded AnyValue: a text up to 127 bytes begins at the third.
SELECT
    arrayFilter(id -> id != '', groupUniqArray({ids_max:UInt32})(substring(attributes['faas.invocation_id'], 3))) AS request_ids,
    if(count() = 0, 0, intDiv(min(start_time_unix_nano), 1000000)) AS first_ms,
    if(count() = 0, 9223372036854775807, intDiv(max(greatest(start_time_unix_nano, end_time_unix_nano)), 1000000)) AS last_ms
FROM spans
WHERE trace_id = toFixedString(unhex({trace_id:String}), 16)
