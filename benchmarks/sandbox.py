"""Run Python operators in the sandbox: CPU time of its start, of a call, and of further images in the same call.

python benchmarks/sandbox.py
"""

import resource
from time import process_time

import numpy as np

from evoseg.core.kinds import Kind
from evoseg.core.streams import stream
from evoseg.sandbox.code import Code
from evoseg.sandbox.supervisor import Sandbox

SHAPES = ((64, 64), (512, 512))
CALLS, IMAGES, TRIES = 10, 41, 3
OPERATORS = {
    "returns its input": "def operator(plane):\n    return plane\n",
    "stretches contrast": (
        "import numpy as np\n"
        "def operator(plane):\n"
        "    low, high = np.percentile(plane, (2, 98))\n"
        "    return np.clip((plane - low) / max(high - low, 1e-6), 0, 1)\n"
    ),
    "local deviation": (
        "import cv2\nimport numpy as np\n"
        "def operator(plane):\n"
        "    x = plane.astype(np.float32)\n"
        "    mean = cv2.GaussianBlur(x, (0, 0), 3)\n"
        "    return np.sqrt(np.maximum(cv2.GaussianBlur(x * x, (0, 0), 3) - mean * mean, 0)) / 127.5\n"
    ),
}


def cpu_ms(source: str, plane: np.ndarray, calls: int, images: int) -> float:
    """Return the CPU time of a sandbox from its start to its end, and of passing the arrays, in ms."""
    code = Code(source, (Kind.GRAY,), Kind.GRAY)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = process_time()
    with Sandbox() as sandbox:
        sandbox.start()
        for _ in range(calls):
            sandbox.run_all(code, [[plane]] * images)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    children_s = used.ru_utime + used.ru_stime - children.ru_utime - children.ru_stime
    return (process_time() - began + children_s) * 1000


def in_process_ms(source: str, plane: np.ndarray) -> float:
    """Return the CPU time of one call of the function alone, in ms."""
    scope: dict[str, object] = {}
    exec(source, scope)
    began = process_time()
    for _ in range(CALLS):
        scope["operator"](plane)  # type: ignore[operator]
    return (process_time() - began) * 1000 / CALLS


def main() -> None:
    """Run as a script."""
    rng = stream(0, "benchmark", "sandbox")
    for name, source in OPERATORS.items():
        for shape in SHAPES:
            plane = rng.integers(0, 256, shape).astype(np.uint8)
            start, one, many = (
                min(cpu_ms(source, plane, calls, images) for _ in range(TRIES))
                for calls, images in ((0, 1), (CALLS, 1), (CALLS, IMAGES))
            )
            call = (one - start) / CALLS
            further = (many - one) / CALLS / (IMAGES - 1)
            alone = in_process_ms(source, plane)
            print(
                f"{name}, {shape[0]} x {shape[1]}: start {start:.0f} ms, call {call:.1f} ms, further image "
                f"{further:.2f} ms; the function alone {alone:.3f} ms"
            )


if __name__ == "__main__":
    main()
