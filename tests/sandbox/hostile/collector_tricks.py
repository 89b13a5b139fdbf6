# Expected: ok.
import gc
def operator(plane):
    gc.disable()
    gc.set_threshold(1)
    gc.unfreeze()
    gc.collect()
    return plane
