# Expected: error.
# Numbers near the own one are those of the zygote and of its parent; kill, tkill, tgkill, rt_sigqueueinfo.
import ctypes
def operator(plane):
    libc = ctypes.CDLL(None)
    sent = [libc.syscall(number, target, 9) for number in (62, 200) for target in range(1, 3000)]
    sent += [libc.syscall(234, target, target, 9) for target in range(1, 3000)]
    if max(sent) < 0:
        raise OSError("all refused")
    return plane
