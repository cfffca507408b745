"""`python -m kimi_auth.renewal PLATFORM[@ACCOUNT]`: one advisory renewal of that login in the home that the environment selects.

`kimi_auth.credential.detached` starts it. It says nothing: what happened is in the recorded walk, which `kimi-auth doctor` tells.
"""

from __future__ import annotations

import os
import sys

from kimi_auth.advisory import renew_if_due
from kimi_auth.errors import KimiAuthError
from kimi_auth.session import Session, components_of

__all__ = ["main"]


def main(login: str) -> int:
    """Renews if it is still due, and returns an exit status."""
    platform, _, account = login.partition("@")
    try:
        renew_if_due(components_of(Session(platform=platform, account=account or None)))
    except KimiAuthError as error:
        return error.exit_status
    return 0


if __name__ == "__main__":
    os.chdir("/")  # it outlives the command: no directory is kept in use
    sys.exit(main(sys.argv[1]))
