SELECT log_group, count() AS definitions
FROM log_definitions FINAL
WHERE account = {account:String} AND region = {region:String} AND kind = {kind:String}
  AND has({names:Array(String)}, log_group)
GROUP BY log_group
