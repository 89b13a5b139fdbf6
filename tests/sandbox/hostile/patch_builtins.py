# Expected: ok or error or crash.
import builtins
def operator(plane):
    for name in ("len", "range", "isinstance", "print", "sum", "min", "max", "type", "str"):
        setattr(builtins, name, lambda *a, **k: 0)
    return plane
