"""One search on disk: its folder, database, journal and lock."""
