# Expected: ok or error.
# Whatever this process can find is what it was given: no truth, no paths of data, no keys.
import gc
def operator(plane):
    found = [o for o in gc.get_objects() if isinstance(o, dict) and ("mask" in o or "OPENAI_API_KEY" in o)]
    for frame in __import__("sys")._current_frames().values():
        while frame:
            found += [frame.f_locals] * ("truth" in frame.f_locals)
            frame = frame.f_back
    if found:
        raise ValueError("found something")
    return plane
