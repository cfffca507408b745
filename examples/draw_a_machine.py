"""You will see the refresh transaction as a Mermaid diagram, and how it reads as data.

python examples/draw_a_machine.py [NAME]
"""

from __future__ import annotations

import sys

from kimi_auth.machine import Library
from kimi_auth.review.mermaid import mermaid

machine = Library.load()[sys.argv[1] if len(sys.argv) > 1 else "token_refresh"]
print(mermaid(machine))
for name, state in machine.states.items():
    work = f"runs {state.activity}" if state.activity else f"rests, {state.tone}"
    print(f"{name} {work}: {', '.join(f'{event} -> {target}' for event, target in state.on.items()) or 'the end'}")
