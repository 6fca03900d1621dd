-- X-Ray segment documents as they came, beside the spans that are made of them. A complete one has a higher
-- version than one in progress, whichever came last (read with FINAL).
CREATE TABLE IF NOT EXISTS xray_segments (
    account LowCardinality(String),
    region LowCardinality(String),
    trace_id String,  -- 32 hex digits
    segment_id String,
    parent_id String,
    name LowCardinality(String),
    is_in_progress UInt8,
    document String CODEC(ZSTD(1)),
    received DateTime DEFAULT now(),
    version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (trace_id, segment_id)
SETTINGS old_parts_lifetime = 480;
