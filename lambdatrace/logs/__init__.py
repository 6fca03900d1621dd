"""Logs beyond standard output: records of `logging` as OTLP's, and the structured logger."""
