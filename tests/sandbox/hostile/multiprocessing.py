# Expected: error.
import multiprocessing
def operator(plane):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(abs, range(4))
    return plane
