"""The model checker: visits every interleaving of processes, crashes and faults that the machines allow.

program   the machines, flattened            hooks, hooks_outside   the real hooks, simulated on a small world
state     that world, as tuples              environment            what happens around the processes
world     both together, a graph of moves    explore                visits the graph and checks the `rules`
worlds    the configurations                 ablations, mutation    the checker, checked: it must find planted faults
"""
