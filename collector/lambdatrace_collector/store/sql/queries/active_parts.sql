-- What the store holds, by the parts that are read.
SELECT uniqExact(table) AS tables, count() AS parts, sum(rows) AS row_count, sum(bytes_on_disk) AS disk_bytes
FROM system.parts
WHERE active AND database = currentDatabase()
