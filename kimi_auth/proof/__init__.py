"""The simulated hooks: the activities of the real hooks, on a world with a state space small enough to visit
completely."""
