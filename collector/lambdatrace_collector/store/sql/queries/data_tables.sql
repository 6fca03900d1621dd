-- The tables that hold what was sent: not those that only pass it on, nor the schema's own versions.
SELECT name AS table
FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_versions'
ORDER BY name
