# Expected: time.
def operator(plane):
    while True:
        pass
