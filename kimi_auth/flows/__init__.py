"""What the machines do: the hooks' contracts, the real hooks, and the simulated ones that the checker explores."""
