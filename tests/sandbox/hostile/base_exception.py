# Expected: error.
class Beyond(BaseException):
    pass
def operator(plane):
    raise Beyond("not an Exception")
