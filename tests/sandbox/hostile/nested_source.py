# Expected: error or crash or memory.
def operator(plane):
    return eval("(" * 5000 + ")" * 5000)
