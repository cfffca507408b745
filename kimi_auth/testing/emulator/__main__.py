"""`python -m kimi_auth.testing.emulator`: prints one JSON line when ready and no more, and runs until SIGTERM or
SIGINT."""

from __future__ import annotations

import sys

from .program import main

sys.exit(main())
