# Expected: time.
import signal
def operator(plane):
    try:
        signal.setitimer(signal.ITIMER_PROF, 0)
    except OSError:
        pass
    while True:
        pass
