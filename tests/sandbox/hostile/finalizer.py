# Expected: ok or error or crash.
class Last:
    def __del__(self):
        import os
        while True:
            os.write(1, b"still here")
kept = Last()
def operator(plane):
    return plane
