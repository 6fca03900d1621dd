"""The handler that opentelemetry-lambda's layer puts before the function's own.

The instrumentor has replaced the function in its module by the time it is looked up.
"""

from __future__ import annotations

import os
from importlib import import_module

_module, _, _name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(_module), _name)
