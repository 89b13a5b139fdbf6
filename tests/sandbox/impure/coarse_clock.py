# Expected: impure.
import time
import numpy as np
def operator(plane):
    return plane ^ np.uint8(time.clock_gettime_ns(getattr(time, "CLOCK_REALTIME_COARSE", 5)) // 1000 % 251)
