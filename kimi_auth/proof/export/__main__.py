"""`python -m kimi_auth.proof.export --help`: spin's verdict beside ours."""

import sys

from .compare import main

if __name__ == "__main__":
    sys.exit(main())
