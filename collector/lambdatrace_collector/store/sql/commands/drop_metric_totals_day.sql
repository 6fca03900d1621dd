ALTER TABLE metric_totals DROP PARTITION {day:Date}
