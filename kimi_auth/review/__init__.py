"""Machines for people: pictures, pages, differences, traces, coverage. Nothing that serves a login loads it."""
