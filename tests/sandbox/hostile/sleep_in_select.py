# Expected: error.
import select
def operator(plane):
    select.select([], [], [], 3600)
    return plane
