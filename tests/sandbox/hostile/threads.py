# Expected: error.
import threading
def operator(plane):
    threads = [threading.Thread(target=print) for _ in range(1000)]
    for thread in threads:
        thread.start()
    return plane
