"""A laptop on which many processes share one login, in virtual time: `world.World` lives it, `disturbances` has the events
that happen to it."""
