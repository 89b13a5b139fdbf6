# Expected: memory or time.
def operator(plane):
    grown = [plane]
    while True:
        grown = grown + grown
