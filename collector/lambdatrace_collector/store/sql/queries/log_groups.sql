-- One page of log groups by name. Empty prefix, part, class and names match all; the part of a name
-- is found whatever its case.
SELECT log_group, creation_ms, log_group_class, retention_days, is_deletion_protected, kms_key_id, tags
FROM log_groups FINAL
WHERE account = {account:String} AND region = {region:String}
  AND log_group > {after:String}
  AND startsWith(log_group, {prefix:String})
  AND (empty({part:String}) OR positionCaseInsensitive(log_group, {part:String}) > 0)
  AND (empty({regex:String}) OR match(log_group, {regex:String}))
  AND (empty({log_group_class:String}) OR log_group_class = {log_group_class:String})
  AND (empty({names:Array(String)}) OR has({names:Array(String)}, log_group))
ORDER BY log_group
LIMIT {page_max:UInt32}
