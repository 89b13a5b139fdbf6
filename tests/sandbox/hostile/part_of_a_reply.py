# Expected: time or crash.
import os


def operator(plane):
    for descriptor in range(256):
        try:
            os.write(descriptor, b"D" + bytes(plane.size // 2))
        except OSError:
            pass
    while True:
        pass
