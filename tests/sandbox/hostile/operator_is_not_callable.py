# Expected: error.
operator = 42
