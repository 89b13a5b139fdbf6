# Expected: crash.
import os
def operator(plane):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"F" + b"\x1b[2J" * 500 + b"0")
        except OSError:
            pass
    os._exit(0)
