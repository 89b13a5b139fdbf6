# Expected: crash.
class Silent(Exception):
    def __str__(self):
        raise self
def operator(plane):
    raise Silent
