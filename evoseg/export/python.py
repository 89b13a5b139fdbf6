"""A pipeline as one Python file that needs numpy and cv2 only."""

from pprint import pformat

from evoseg import __version__
from evoseg.base.kinds import Kind
from evoseg.data import imageformat
from evoseg.export import reader, vectors
from evoseg.export.excerpts import Excerpts, ExportError
from evoseg.operators import registry
from evoseg.pipeline.printer import print_text
from evoseg.pipeline.value import Pipeline

_HEADER = '''"""{what}, by a pipeline that evoseg {version} wrote.

This file stands alone: it needs Python, numpy and OpenCV (cv2), and nothing of evoseg.

    python FILE.py IMAGE...       write {result} beside each image; nothing is overwritten
    python FILE.py --self-test    check that this machine gives the same result as the one that wrote the file

From Python: `pipeline(image)` takes an array of shape (M, N) or (M, N, C), colours in the order R, G, B, and returns
{returned}.
{made_for}
Digest of the pipeline: {digest}
The filters are part of evoseg, licensed under the Apache License, Version 2.0:
https://www.apache.org/licenses/LICENSE-2.0
"""
'''

_CHECKS = '''# What the images were like that the pipeline was made for, and which of their channels it looks at.
MADE_FOR = {made_for}
READS, COMPARES_COLOURS = {reads}, {colours}

# Where the channels lie in files of several pages: how many pages there are, then page and sample of each channel.
PLACES = {places}


def checked(program):
    """Let a program look first whether an image is one that it was made for."""

    @wraps(program)
    def run(image):
        cv2.ipp.setUseIPP(False)  # its results depend on where in memory an image lies
        image = as_native(image)
        for difference in differences_of(image):
            text = f"{{difference[2]}}, but {{difference[3]}}."
            if difference[1]:
                raise ValueError(text)
            warnings.warn(text, stacklevel=2)
        return program(image)

    return run


def differences_of(image):
    """Return how an image differs from those that the pipeline was made for."""
    if MADE_FOR is None:
        return []
    n = image.shape[2]
    alike = bool((image == image[:, :, :1]).all())
    found = channel_differences(MADE_FOR, n, (), READS, COMPARES_COLOURS, n > 1 and alike)
    return found + pixel_differences(MADE_FOR, image)
'''

_FOOTER = '''

# What the drawn images gave when this file was written.
EXPECTED = {expected}


def self_test():
    """Check the pipeline on drawn images; return True if every pixel is as expected."""
    cv2.ipp.setUseIPP(False)
    passed = True
    for depth, expected in EXPECTED.items():
        same = fingerprint(pipeline.__wrapped__(drawn_image(depth))) == expected
        print(f"{{depth}}: {{'as expected' if same else 'DIFFERS from what evoseg gave'}}")
        passed = passed and same
    return passed


def read(path):
    """Return an image as (M, N, C), colours in the order R, G, B and without transparency."""
    return read_image(path, PLACES, len(MADE_FOR["channels"]) if MADE_FOR else 0)


def main(arguments):
    """Apply the pipeline to the files named on the command line."""
    if arguments == ["--self-test"]:
        return 0 if self_test() else 1
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    warnings.showwarning = lambda message, *rest: print(f"warning: {{message}}", file=sys.stderr)
    for path in map(Path, arguments):
        target = path.with_name(path.stem + "{suffix}")
        if target.exists():
            raise SystemExit(f"{{target}}: exists already; move it away first.")
        try:
            result = pipeline(read(path))
            {write}
        except (ValueError, OSError) as error:
            raise SystemExit(f"{{path}}: {{getattr(error, 'strerror', None) or error}}") from None
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''

_WIDTH = 110
_OWN_NAMES = (
    *("pipeline", "EXPECTED", "self_test", "read", "main", "checked", "differences_of"),
    *("MADE_FOR", "READS", "COMPARES_COLOURS", "PLACES"),
)
_OWN_IMPORTS = (
    *("import sys", "import warnings", "from functools import wraps", "from pathlib import Path"),
    *("import cv2", "import numpy as np"),
)
_SHARED = (
    (vectors.__name__, ("drawn_image", "fingerprint")),
    (reader.__name__, ("read_image", "as_native", "write_file")),
    (imageformat.__name__, ("channel_differences", "pixel_differences")),
)
"""Functions of evoseg that every file carries."""

_WRITE_PICTURE = "write_file(target, {value})"
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


def export_python(pipeline: Pipeline, places: reader.Places | None = None) -> str:
    """Return a Python file that gives the same results as the pipeline, with numpy and cv2 only.

    Parameters
    ----------
    pipeline : Pipeline
        Run twice here, on drawn images of 96 x 131 pixels, for the test vector that the file carries.
    places : (int, places), optional
        Where the channels are in files of several pages, as `evoseg.data.files.places` says.

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
    parts = [(op.function.__module__, op.name) for op in used]
    parts += [(module, name) for module, names in _SHARED for name in names]
    excerpts = Excerpts(dict.fromkeys(_OWN_NAMES, ("", "")) | {name: (module, name) for module, name in parts})
    for line in _OWN_IMPORTS:
        excerpts.needs(line.split()[-1], line)
    for module, name in parts:
        excerpts.add(module, name)
    first, program = print_text(pipeline).split("def pipeline", 1)
    body = f"{first}@checked\ndef pipeline{program}"
    return f"{_header(pipeline)}\n{excerpts.text()}\n\n\n{_checks(pipeline, places)}\n\n{body}{_footer(pipeline)}"


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
    made_for = f"Made for images of {pipeline.made_for}.\n" if pipeline.made_for is not None else ""
    return _HEADER.format(
        what=what,
        result=result,
        returned=returned,
        version=__version__,
        digest=pipeline.digest,
        made_for=made_for.replace("\\", "\\\\").replace('"', "'"),
    )


def _checks(pipeline: Pipeline, places: reader.Places | None) -> str:
    known = pipeline.made_for
    return _CHECKS.format(
        made_for=pformat(None if known is None else known.as_json(), width=_WIDTH, sort_dicts=False),
        reads=pipeline.reads(len(known.channels)) if known is not None else (),
        colours=pipeline.compares_colours,
        places=pformat(places, width=_WIDTH),
    )


def _footer(pipeline: Pipeline) -> str:
    *_, suffix, write = _KINDS[pipeline.output]
    run = pipeline.for_images(None)
    expected = {depth: vectors.fingerprint(run(vectors.drawn_image(depth))) for depth in vectors.DEPTHS}
    lines = "".join(f'    "{depth}": "{digest}",\n' for depth, digest in expected.items())
    return _FOOTER.format(expected=f"{{\n{lines}}}", suffix=suffix, write=write)
