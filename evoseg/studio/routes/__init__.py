"""What the server answers, by subject. Each route parses a request, calls one function, and shapes its answer."""

from evoseg.studio.routes import bench, correcting, library, painting, results, searches, tiles, whole

_MODULES = (whole, tiles, painting, correcting, searches, results, bench, library)
ROUTERS = tuple(module.router for module in _MODULES)
