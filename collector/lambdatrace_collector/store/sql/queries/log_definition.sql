SELECT document
FROM log_definitions FINAL
WHERE account = {account:String} AND region = {region:String} AND kind = {kind:String}
  AND log_group = {log_group:String} AND name = {definition:String}
