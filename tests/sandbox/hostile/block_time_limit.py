# Expected: time.
import signal
def operator(plane):
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
    except OSError:
        pass
    while True:
        pass
