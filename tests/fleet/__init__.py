"""Real processes against a loopback server: the stage they act on, and the invariants that must hold when they are done."""
