from __future__ import annotations

import sys

from lambdatrace.cli import main

sys.exit(main())
