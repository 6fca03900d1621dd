SELECT * FROM resources FINAL WHERE resource_id IN {ids:Array(UInt64)}
