# Expected: error.
def operator(plane):
    raise ValueError("\x00\x1b]0;owned\x07\u202e\ud800" * 100)
