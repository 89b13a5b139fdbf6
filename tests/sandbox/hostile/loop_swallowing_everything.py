# Expected: time.
def operator(plane):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
