# Expected: error.
import resource
def operator(plane):
    for name in ("AS", "CPU", "FSIZE", "NOFILE"):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (2**40, 2**40))
    return plane
