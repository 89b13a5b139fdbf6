# Expected: crash.
import os
def operator(plane):
    block = bytes(1 << 16)
    while True:
        for descriptor in range(3, 256):
            try:
                os.write(descriptor, block)
            except OSError:
                pass
