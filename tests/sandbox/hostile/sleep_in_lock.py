# Expected: error or crash or time.
import threading
def operator(plane):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return plane
