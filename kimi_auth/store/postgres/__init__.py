"""Credentials in PostgreSQL: one row each, for any number of processes on any number of hosts."""
