"""Hours of a login in minutes: short tokens, mixed programs, kills and faults; the server's records show every loss."""
