-- Which schema files were applied; read before anything else.
CREATE TABLE IF NOT EXISTS schema_versions (
    version UInt32,
    name String,
    digest String,  -- of its statements: what was made by others is not read or written
    applied DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY version;
