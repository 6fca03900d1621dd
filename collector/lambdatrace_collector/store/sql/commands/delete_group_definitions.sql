DELETE FROM log_definitions
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
