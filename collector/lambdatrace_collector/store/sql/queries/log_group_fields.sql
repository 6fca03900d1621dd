-- The fields of a group's events in a time range, those of JSON by their paths, and in how many percent of
-- the latest thousand events each is.
SELECT
    name,
    toUInt8(round(100 * count() / any(events))) AS percent
FROM (
    SELECT
        arrayJoin(arrayDistinct(arrayConcat(
            ['@ingestionTime', '@log', '@logStream', '@message', '@timestamp'],
            JSONAllPaths(CAST(if(isValidJSON(message) AND match(message, '^\\s*\\{'), message, '{}'), 'JSON'))))) AS name,
        events
    FROM (
        SELECT message, count() OVER () AS events
        FROM (
            SELECT message
            FROM log_events
            WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
              AND timestamp_ms >= {start_ms:Int64} AND timestamp_ms < {end_ms:Int64}
            ORDER BY timestamp_ms DESC, event_id DESC
            LIMIT 1000
        )
    )
)
GROUP BY name
ORDER BY name
LIMIT 1000
SETTINGS type_json_skip_duplicated_paths = 1
