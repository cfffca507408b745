"""You will see the real Kimi CLI, whole and unchanged, with this package instead of its own authentication.

    python examples/kimi_cli_dropin.py login --json
    python examples/kimi_cli_dropin.py --print -p "hello there"
    python examples/kimi_cli_dropin.py logout

Needs Python 3.12 and `pip install kimi-cli==1.52.0`. It uses the Kimi CLI's own share directory; with `kimi-auth
emulator --share-dir DIR` and the variables that it prints, no account is touched.
"""

from __future__ import annotations

import sys

from kimi_auth.compat.kimi_cli import install


def main(arguments: list[str]) -> int | str | None:
    install()
    try:
        from kimi_cli.__main__ import run_original_cli
    except ImportError as error:
        return f"the Kimi CLI is not here: pip install kimi-cli==1.52.0, with Python 3.12 or newer ({error})"
    ended: int | str | None = run_original_cli(arguments)
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if len(sys.argv) > 1 else print(__doc__))
