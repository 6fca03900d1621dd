-- From now on the day is read from its rollups, not from its samples.
INSERT INTO metric_rolled_days SELECT {day:Date}
