-- One page of definitions of a kind, by group and name. Empty group and prefix match all.
SELECT log_group, name, document
FROM log_definitions FINAL
WHERE account = {account:String} AND region = {region:String} AND kind = {kind:String}
  AND (empty({log_group:String}) OR log_group = {log_group:String})
  AND startsWith(name, {prefix:String})
  AND (log_group, name) > ({after_group:String}, {after_name:String})
ORDER BY log_group, name
LIMIT {page_max:UInt32}
