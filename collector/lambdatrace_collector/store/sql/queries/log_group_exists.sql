SELECT 1 AS one FROM log_groups
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
LIMIT 1
