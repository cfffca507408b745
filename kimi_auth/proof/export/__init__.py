"""The explored model for other checkers: `spin` runs it, and `compare` puts its verdict beside ours.

relation    a hook as a decision tree, found by running the hook's own Python function
model       a world as data: machines, relations, and which steps are one move
promela     the same for spin, with `embedded_c` and `walks.c`: what a walk is, and what the model forgets
spin        runs spin on it
functional  the same in a language of expressions, with its `tables`
tla         that in TLA+, with `walks.tla`; `tlc` runs TLC on it
quint       that in Quint, with `walks.qnt`; `simulator` runs it
compare     worlds and ablations, theirs beside ours: `python -m kimi_auth.proof.export`
others      TLC's and Quint's, beside ours: `python -m kimi_auth.proof.export.others`
"""
