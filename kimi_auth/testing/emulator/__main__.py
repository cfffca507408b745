"""`python -m kimi_auth.testing.emulator`: one JSON line on stdout when ready, nothing more, until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from .program import main

sys.exit(main())
