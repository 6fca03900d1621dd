-- What the engine says of itself, read with each scrape of /metrics.
SELECT
    (SELECT value FROM system.metrics WHERE metric = 'MemoryTracking') AS memory_bytes,
    (SELECT value FROM system.metrics WHERE metric = 'PartsActive') AS active,
    (SELECT value FROM system.metrics WHERE metric = 'PartsOutdated') AS outdated,
    (SELECT value FROM system.metrics WHERE metric = 'Merge') AS merging,
    (SELECT count() FROM system.detached_parts WHERE database = currentDatabase()) AS detached
