SELECT account, region, log_group, retention_days
FROM log_groups FINAL
WHERE retention_days > 0
ORDER BY account, region, log_group
