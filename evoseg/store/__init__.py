"""Runs on disk: one folder each, with a SQLite database that survives whatever ends the process."""
