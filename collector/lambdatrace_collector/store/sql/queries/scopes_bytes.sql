SELECT * FROM scopes FINAL WHERE scope_id IN {ids:Array(UInt64)}
