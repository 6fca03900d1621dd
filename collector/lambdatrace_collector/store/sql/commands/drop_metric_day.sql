ALTER TABLE metric_samples DROP PARTITION {day:Date}
