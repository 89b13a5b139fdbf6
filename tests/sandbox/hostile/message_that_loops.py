# Expected: time.
class Talker(Exception):
    def __str__(self):
        while True:
            pass
def operator(plane):
    raise Talker
