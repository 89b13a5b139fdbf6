# Expected: error.
# bpf, perf_event_open, userfaultfd, keyctl, add_key, init_module, kexec_load, reboot, io_uring_enter, landlock, memfd_secret.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    numbers = (321, 298, 323, 250, 248, 175, 246, 169, 426, 444, 446, 447, 319, 253, 255, 300, 303, 305, 240, 244)
    if all(libc.syscall(number, 0, 0, 0, 0, 0, 0) < 0 for number in numbers):
        raise OSError("all refused")
    return plane
