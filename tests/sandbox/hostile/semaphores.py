# Expected: error.
import multiprocessing
def operator(plane):
    while True:
        multiprocessing.Semaphore()
