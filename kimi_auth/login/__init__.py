"""Signing in: the hooks of device_login, API keys, the keyring of old Kimi CLIs, and the view protocol."""
