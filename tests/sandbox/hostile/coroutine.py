# Expected: result.
async def operator(plane):
    return plane
