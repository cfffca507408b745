"""`python -m kimi_auth.proof --help`: the model checker."""

import sys

from .proofs import main

if __name__ == "__main__":
    sys.exit(main())
