# Expected: error.
import fcntl, os
def operator(plane):
    for descriptor in range(256):
        try:
            os.dup2(descriptor, 300)
        except OSError:
            continue
        return plane
    raise OSError("all refused")
