SELECT version, name, digest, toUnixTimestamp(applied) AS applied
FROM schema_versions
ORDER BY version DESC
LIMIT 1
