"""The simulated hooks: the same activities as the real ones, on a world small enough to visit every state of it."""
