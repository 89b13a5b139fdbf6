# Expected: time.
import signal
def operator(plane):
    for name in ("SIGPROF", "SIGXCPU", "SIGALRM", "SIGTERM"):
        try:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        except OSError:
            pass
    while True:
        pass
