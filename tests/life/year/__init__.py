"""A laptop on which many processes share one login, in virtual time: `world.World` lives it, `weather` is what happens to it."""
