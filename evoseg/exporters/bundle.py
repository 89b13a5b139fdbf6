"""A pipeline as one .zip: its text, its networks, a Python file, what it gives for test images, and a card."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg import __version__
from evoseg.core.kinds import Kind
from evoseg.core.transforms import SHIFT
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions
from evoseg.exporters import standalone
from evoseg.exporters.network_planes import network_planes_of
from evoseg.exporters.python import export_python
from evoseg.operators import registry
from evoseg.operators.network import network_bytes
from evoseg.operators.registry import Operator
from evoseg.pipeline.explaining import network_words
from evoseg.pipeline.textform import print_text
from evoseg.pipeline.value import Pipeline, Step
from evoseg.sandbox.operators import admitted_code

PROGRAM, TEXT, CARD = "pipeline.py", "pipeline.evo", "card.md"
_WRITTEN = (1980, 1, 1, 0, 0, 0)
"""Time of every entry, so that equal pipelines give equal bundles."""
_ENDINGS = {Kind.MASK: "mask.png", Kind.GRAY: "gray.png", Kind.LABELS: "labels.tif", Kind.POINTS: "points.csv"}

_CARD = """\
# Pipeline {digest}

Written by evoseg {version}. It returns {output}{made_for}.

| file | contents |
| --- | --- |
| {text} | the pipeline as text, which evoseg reads: `evoseg apply {text} IMAGES --out FOLDER` |
| {program} | the same as a program for Python, numpy and OpenCV: `python {program} IMAGE...` |
{networks}| test/ | two drawn images, and what the pipeline gave for them |

`python {program} --self-test` checks that this machine gives the same result as the one that wrote the bundle.{within}

## Steps

| step | what it does | ms per megapixel |
| --- | --- | --: |
{steps}
{about}
The filters are part of evoseg, licensed under the Apache License, Version 2.0.
"""
_WITHIN = """
Networks may differ by one grey level between versions of OpenCV."""
_NETWORK = """
## Network {weights}

{what} It needs OpenCV 4.10 or later in Python, 4.6 or later in C++.
"""


def export_bundle(
    pipeline: Pipeline, places: standalone.Places | None = None, reading: ReadOptions | None = None
) -> bytes:
    """Return a .zip that holds a pipeline and all that it needs.

    Parameters
    ----------
    pipeline : Pipeline
    places : (int, places), optional
        As of `export_python`.
    reading : ReadOptions, optional
        How the images were read that it was made for.

    Raises
    ------
    ExportError
        As `export_python`.
    """
    files = program_files(pipeline, places, reading)
    return zipped({CARD: _card(pipeline).encode(), **files, **dict(_test_files(pipeline))})


def program_files(
    pipeline: Pipeline, places: standalone.Places | None, reading: ReadOptions | None
) -> dict[str, bytes]:
    """Return the pipeline as text and as a Python program, and the networks and operators that they need, by path."""
    first, rest = print_text(pipeline).split("\n", 1)
    reading = reading or DEFAULT_OPTIONS
    program = export_python(pipeline, places, networks_beside=True, transform=reading.transform or SHIFT)
    return {
        TEXT: f"{first}\n{reading.mark()}{rest}".encode(),
        PROGRAM: program.encode(),
        **{f"code/{digest}.py": admitted_code(digest).source.encode() for digest in pipeline.codes},
        **{f"{weights}.onnx": network_bytes(weights) for weights in pipeline.networks},
    }


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return files, by path, as a .zip; equal files give equal bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _WRITTEN), data, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def _test_files(pipeline: Pipeline) -> Iterator[tuple[str, bytes]]:
    """Yield the drawn images, and what the pipeline and its networks give for them."""
    run, asked = pipeline.for_images(None), network_planes_of(pipeline)
    for depth in standalone.DEPTHS:
        image = standalone.drawn_image(depth)
        yield f"test/{depth}.png", _encoded(".png", image[:, :, ::-1])
        ending = _ENDINGS[pipeline.output]
        yield f"test/{depth}_{ending}", _answer(run(image), ending)
        for plane in asked:
            yield f"test/{depth}_{plane.weights}_{plane.output}.png", _encoded(".png", plane.drawn[depth])


def _answer(result: NDArray[Any], ending: str) -> bytes:
    if ending.endswith(".csv"):
        text = io.StringIO()
        np.savetxt(text, result, fmt="%.3f", delimiter=",", header="row,col", comments="")
        return text.getvalue().encode()
    picture = result.astype(np.uint8) * 255 if result.dtype == np.bool_ else result
    return _encoded(ending[-4:], picture)


def _encoded(ending: str, picture: NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(ending, picture)[1])


def _card(pipeline: Pipeline) -> str:
    steps = (f"| {op.called} | {op.summary} | {op.cost(s.params):.1f} |" for s, op in _operators(pipeline))
    return _CARD.format(
        digest=pipeline.digest,
        version=__version__,
        output={"mask": "a mask", "gray": "a plane", "labels": "objects", "points": "points"}[pipeline.output],
        made_for="" if pipeline.made_for is None else f" and was made for images of {pipeline.made_for}",
        text=TEXT,
        program=PROGRAM,
        networks="".join(
            [
                *(f"| {weights}.onnx | a network that both files need |\n" for weights in pipeline.networks),
                *(f"| code/{digest}.py | a Python operator, no part of evoseg |\n" for digest in pipeline.codes),
            ]
        ),
        within=_WITHIN if pipeline.networks else "",
        steps="\n".join(steps),
        about="".join(_NETWORK.format(weights=w, what=network_words(w)) for w in pipeline.networks),
    )


def _operators(pipeline: Pipeline) -> Iterator[tuple[Step, Operator]]:
    return ((s, registry.get(s.operator)) for s in pipeline.steps)
