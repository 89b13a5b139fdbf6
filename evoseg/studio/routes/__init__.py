"""What the server answers, by subject. Each route parses a request, calls one function, and shapes its answer."""

from evoseg.studio.routes import bench, library, painting, results, searches, tiles, whole

ROUTERS = (whole.router, tiles.router, painting.router, searches.router, results.router, bench.router, library.router)
