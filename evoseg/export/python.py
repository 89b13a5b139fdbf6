"""A pipeline as one Python file that needs numpy and cv2 only."""

from evoseg import __version__
from evoseg.base.kinds import Kind
from evoseg.export import vectors
from evoseg.export.excerpts import Excerpts, ExportError
from evoseg.operators import registry
from evoseg.pipeline.printer import print_text
from evoseg.pipeline.value import Pipeline

_HEADER = '''"""{what}, by a pipeline that evoseg {version} wrote.

This file stands alone: it needs Python, numpy and OpenCV (cv2), and nothing of evoseg.

    python FILE.py IMAGE...       write {result} beside each image; nothing is overwritten
    python FILE.py --self-test    check that this machine gives the same result as the one that wrote the file

From Python: `pipeline(image)` takes a uint8, uint16 or float32 array of shape (M, N, C), colours in the order
R, G, B, and returns {returned}.

Digest of the pipeline: {digest}
The filters are part of evoseg, licensed under the Apache License, Version 2.0:
https://www.apache.org/licenses/LICENSE-2.0
"""
'''

_FOOTER = '''

# What the drawn images gave when this file was written.
EXPECTED = {expected}


def self_test():
    """Check the pipeline on drawn images; return True if every pixel is as expected."""
    passed = True
    for depth, expected in EXPECTED.items():
        same = fingerprint(pipeline(drawn_image(depth))) == expected
        print(f"{{depth}}: {{'as expected' if same else 'DIFFERS from what evoseg gave'}}")
        passed = passed and same
    return passed


def read(path):
    """Return an image as (M, N, C), colours in the order R, G, B and without transparency."""
    if cv2.imcount(str(path)) > 1:
        raise SystemExit(f"{{path}}: holds several images; save them one by one.")
    image = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if image is None:
        raise SystemExit(f"{{path}}: not an image that OpenCV can read.")
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise SystemExit(f"{{path}}: holds {{image.dtype}}; convert it to uint8, uint16 or float32.")
    if image.ndim == 2:
        return image[:, :, None]
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def main(arguments):
    """Apply the pipeline to the files named on the command line."""
    if arguments == ["--self-test"]:
        return 0 if self_test() else 1
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    for path in map(Path, arguments):
        target = path.with_name(path.stem + "{suffix}")
        if target.exists():
            raise SystemExit(f"{{target}}: exists already; move it away first.")
        result = pipeline(read(path))
        {write}
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''

_OWN_NAMES = ("pipeline", "EXPECTED", "self_test", "read", "main")
_OWN_IMPORTS = ("import sys", "from pathlib import Path", "import cv2", "import numpy as np")

_WRITE_PICTURE = """if not cv2.imwrite(str(target), {value}):
            raise SystemExit(f"{{target}}: could not be written.")"""
# By kind of result: what the file does, what a run writes, what a call returns, ending of the output, how to write.
_KINDS = {
    Kind.MASK: (
        "Segment images",
        "STEM_mask.png (0 and 255)",
        "a bool array of shape (M, N), True on foreground",
        "_mask.png",
        _WRITE_PICTURE.format(value="result.astype(np.uint8) * 255"),
    ),
    Kind.GRAY: (
        "Filter images",
        "STEM_gray.png",
        "a uint8 array of shape (M, N)",
        "_gray.png",
        _WRITE_PICTURE.format(value="result"),
    ),
    Kind.LABELS: (
        "Segment objects",
        "STEM_labels.tif (32 bits, 0 = background)",
        "an int32 array of shape (M, N), one number per object and 0 for background",
        "_labels.tif",
        _WRITE_PICTURE.format(value="result"),
    ),
    Kind.POINTS: (
        "Detect objects",
        "STEM_points.csv (row, col)",
        "a float64 array of shape (n, 2), (row, col)",
        "_points.csv",
        'np.savetxt(target, result, fmt="%.3f", delimiter=",", header="row,col", comments="")',
    ),
}


def export_python(pipeline: Pipeline) -> str:
    """Return a Python file that gives the same results as the pipeline, with numpy and cv2 only.

    Parameters
    ----------
    pipeline : Pipeline
        Run twice here, on drawn images of 96 x 131 pixels, for the test vector that the file carries.

    Returns
    -------
    str
        Source of the file: the operators used, ``pipeline(image)``, a command line and a self-test.

    Raises
    ------
    ExportError
        If an operator needs further packages, or the result is an image of many channels.
    """
    used = [registry.get(name) for name in dict.fromkeys(step.operator for step in pipeline.steps)]
    for op in used:
        check_exportable(op)
    if pipeline.output not in _KINDS:
        raise ExportError(
            f"the pipeline gives a {pipeline.output} value; only masks, planes, objects and points are exported."
        )
    places = [(op.function.__module__, op.name) for op in used]
    places += [(vectors.__name__, name) for name in ("drawn_image", "fingerprint")]
    excerpts = Excerpts(dict.fromkeys(_OWN_NAMES, ("", "")) | {name: (module, name) for module, name in places})
    for line in _OWN_IMPORTS:
        excerpts.needs(line.split()[-1], line)
    for module, name in places:
        excerpts.add(module, name)
    return _header(pipeline) + "\n" + excerpts.text() + "\n\n\n" + print_text(pipeline) + _footer(pipeline)


def check_exportable(op: registry.Operator) -> None:
    """Raise an error that names the operator if it needs more than numpy and cv2.

    Raises
    ------
    ExportError
    """
    if op.needs:
        raise ExportError(
            f"operator '{op.name}' needs {' and '.join(op.needs)}, so it cannot be exported to a file that needs "
            "numpy and cv2 only. Search with the default operators, or use the pipeline from evoseg."
        )


def _header(pipeline: Pipeline) -> str:
    what, result, returned, _, _ = _KINDS[pipeline.output]
    return _HEADER.format(what=what, result=result, returned=returned, version=__version__, digest=pipeline.digest)


def _footer(pipeline: Pipeline) -> str:
    *_, suffix, write = _KINDS[pipeline.output]
    expected = {depth: vectors.fingerprint(pipeline(vectors.drawn_image(depth))) for depth in vectors.DEPTHS}
    lines = "".join(f'    "{depth}": "{digest}",\n' for depth, digest in expected.items())
    return _FOOTER.format(expected=f"{{\n{lines}}}", suffix=suffix, write=write)
