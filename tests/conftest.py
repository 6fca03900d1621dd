"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's affair: no test is to fail because that is busy.
settings.register_profile(
    "lambdatrace", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lambdatrace")
