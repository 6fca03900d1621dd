SELECT log_group, creation_ms, log_group_class, retention_days, is_deletion_protected, kms_key_id, tags
FROM log_groups FINAL
WHERE account = {account:String} AND region = {region:String} AND log_group = {log_group:String}
