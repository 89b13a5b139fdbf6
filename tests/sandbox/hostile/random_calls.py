# Expected: error.
# Numbers and arguments at random, also beyond 32 bits.
import ctypes, random
def operator(plane):
    libc = ctypes.CDLL(None)
    room = ctypes.create_string_buffer(b"/tmp/evoseg-canary" + bytes(4000))
    allowed = (1, 9, 10, 11, 12, 25, 28, 202, 204, 231, 335, 336)
    rng = random.Random(1)
    for _ in range(5000):
        number = rng.choice((rng.randrange(600), (1 << 30) + rng.randrange(600), (rng.randrange(1 << 31) << 32) + rng.randrange(600)))
        values = (0, 1, -1, -100, 9, 4096, rng.randrange(256), ctypes.addressof(room), rng.getrandbits(62))
        if number & 0xFFFFFFFF not in allowed:
            if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(rng.choice(values)) for _ in range(6))) >= 0:
                return plane
    raise OSError("all refused")
