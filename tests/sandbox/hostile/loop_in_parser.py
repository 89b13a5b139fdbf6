# Expected: time or memory or error or crash.
exec("x = " + "(" * 90 + "0" + ")" * 90)
exec("x = " + "+".join(["1"] * 300000))
exec("x = " + "-" * 50000 + "1")
def operator(plane):
    while True:
        pass
