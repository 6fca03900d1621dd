from __future__ import annotations

import sys

from lambdatrace_collector.cli import main

sys.exit(main())
