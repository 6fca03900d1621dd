-- One page of a group's streams, from `after` on in the chosen order. `sort_ms` is the last event's
-- time when that is the order, else 0, so that one comparison serves both orders.
SELECT
    log_stream,
    min(creation_ms) AS created_ms,
    min(first_event_ms) AS first_ms,
    max(last_event_ms) AS last_ms,
    max(last_ingestion_ms) AS ingested_ms,
    if({by_time:Bool}, ifNull(last_ms, 0), 0) AS sort_ms
FROM log_streams
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND startsWith(log_stream, {prefix:String})
GROUP BY log_stream
HAVING {is_first_page:Bool}
    OR ({descending:Bool} AND (sort_ms, log_stream) < ({after_ms:Int64}, {after:String}))
    OR (NOT {descending:Bool} AND (sort_ms, log_stream) > ({after_ms:Int64}, {after:String}))
ORDER BY
    if({descending:Bool}, -sort_ms, sort_ms),
    if({descending:Bool}, '', log_stream),
    log_stream DESC
LIMIT {page_max:UInt32}
