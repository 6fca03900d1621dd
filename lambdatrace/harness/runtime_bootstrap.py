"""Starts the runtime client behind an exec wrapper, as /var/runtime/bootstrap.py does on AWS.

The handler is read from _HANDLER only now, because the wrapper may have changed it.
"""

import os
import sys

sys.path[0] = os.getcwd()  # noqa: PTH109  (pathlib would cost 3 ms of every cold start)

from awslambdaric.__main__ import main  # noqa: E402  (its own folder must be off the path)

main(["awslambdaric", os.environ["_HANDLER"]])
