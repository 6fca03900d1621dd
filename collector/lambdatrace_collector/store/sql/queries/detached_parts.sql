-- Parts that the engine or the collector set aside: they are kept on disk and not read. `ignored` and `clone`
-- are the engine's own housekeeping; no rows are missing for them.
SELECT table, groupArray(name) AS names, sum(bytes_on_disk) AS disk_bytes
FROM system.detached_parts
WHERE database = currentDatabase() AND reason NOT IN ('ignored', 'clone', 'deleting', 'tmp-fetch')
GROUP BY table
ORDER BY table
