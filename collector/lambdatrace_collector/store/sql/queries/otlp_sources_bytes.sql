SELECT * FROM otlp_sources FINAL WHERE source_id IN {ids:Array(UInt64)}
