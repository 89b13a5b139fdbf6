# Expected: error.
def operator(plane):
    import sqlite3
    return plane
