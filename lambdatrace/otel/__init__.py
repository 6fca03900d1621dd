"""The door for code written against OpenTelemetry: its API's calls become our records.

Each module here stands before one part of the `opentelemetry` packages, and is loaded by the
post-import hook right after the user's code has imported that part. With the API alone, our
recorders are what stands behind the API's own proxies: a provider that is set later, by
`set_tracer_provider` and its like or by OTEL_PYTHON_TRACER_PROVIDER, takes their place as it would
take a no-op's. Nothing here is loaded when `opentelemetry` is not.
"""
