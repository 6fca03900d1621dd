-- The first events after a position that match, with their sizes: a page is cut by bytes before its messages are read.
SELECT timestamp_ms, event_id, length(message) AS message_bytes
FROM log_events FINAL
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
  AND timestamp_ms >= {from_ms:Int64} AND (timestamp_ms, event_id) > ({from_ms:Int64}, {from_id:UInt128})
  AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
  AND (empty({streams:Array(String)}) OR has({streams:Array(String)}, log_stream))
  AND startsWith(log_stream, {stream_prefix:String})
  AND arrayAll(term -> position(message, term) > 0, {every:Array(String)})
  AND arrayAll(regex -> match(message, regex), {every_regex:Array(String)})
  AND NOT arrayExists(term -> position(message, term) > 0, {no:Array(String)})
  AND NOT arrayExists(regex -> match(message, regex), {no_regex:Array(String)})
  AND ((empty({some:Array(String)}) AND empty({some_regex:Array(String)}))
       OR arrayExists(term -> position(message, term) > 0, {some:Array(String)})
       OR arrayExists(regex -> match(message, regex), {some_regex:Array(String)}))
ORDER BY timestamp_ms, event_id
LIMIT {page_max:UInt32}
