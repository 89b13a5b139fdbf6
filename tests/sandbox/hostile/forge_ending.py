# Expected: crash.
# The zygote's words on how a process ended, and a second reply after them.
import os, struct
def operator(plane):
    for descriptor in range(256):
        try:
            os.write(descriptor, struct.pack("<?id", True, 0, 0.0) + b"D" + plane.tobytes())
        except OSError:
            pass
    os._exit(0)
