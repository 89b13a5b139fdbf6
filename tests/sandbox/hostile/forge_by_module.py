# Expected: crash.
import sys
def operator(plane):
    write = sys.modules["__main__"]._write
    for descriptor in range(3, 256):
        try:
            write(descriptor, b"D" + bytes(8))
        except OSError:
            pass
    return plane
