"""`kimi-auth serve`: one process owns the login, sandboxes and tools get access tokens from it.

`server` listens and tells who connects, `guards` refuses requests of pages and other users, `handles` and `grants` say who may ask,
`grant_life` walks `machines/grant.toml` for each request, `app` puts them together. Everything that speaks HTTP here needs the
extra `serve` (starlette, uvicorn); `relay` and `records` need none.
"""
