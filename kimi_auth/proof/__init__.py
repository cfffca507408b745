"""The model checker: visits every interleaving of processes, crashes and faults that the machines allow.

machines -> locations     every location where a walk can be
         -> world         a graph of moves: walks with simulated hooks (`hooks_inside` and `hooks_outside` the lock), on a
                          `state` that also the `environment` changes; `worlds` are its configurations
         -> explore       visits the graph and finds the shortest counterexample to each of the `rules`

`ablations` and `mutation` check the checker: it must find the faults that they plant. `scenarios` need no exploration.
"""
