"""A pipeline as a package of bioimage.io: a model if it asks a network, else the description of an application.

References
----------
bioimage.io model description 0.5 and application description 0.3, https://bioimage-io.github.io/spec-bioimage-io/
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from evoseg import __version__
from evoseg.datasets.reading import ReadOptions
from evoseg.exporters import standalone
from evoseg.exporters.bundle import PROGRAM, TEXT, program_files, zipped
from evoseg.exporters.excerpts import ExportError
from evoseg.networks.image_network import INPUT, OUTPUT, image_network
from evoseg.networks.onnx import OPSET
from evoseg.operators.network import (
    NETWORK_STRIDE,
    describe_network,
    match_brightness,
    measure_brightness,
    network,
    prepare,
    ready_network,
)
from evoseg.pipeline.explaining import network_words
from evoseg.pipeline.value import Pipeline

RDF, README = "rdf.yaml", "README.md"
_MODEL_FORMAT, _APPLICATION_FORMAT = "0.5.4", "0.3.0"
_ONNX, _TORCHSCRIPT = "weights.onnx", "weights.pt"
_LEAST_BLOCKS = 4
"""Height and width of the smallest image, in blocks that the network sees as one pixel at its coarsest."""
_CITE = {"text": "bioimage.io, the BioImage Model Zoo", "url": "https://bioimage.io"}
_READABLE = """\
# {name}

{description}

Written by evoseg {version}. `{text}` is the whole pipeline, which evoseg reads; `{program}` is the same as a program
for Python, NumPy and OpenCV: `python {program} IMAGE...`.
{model}
## Validation

{validation}

## Pipeline

```
{pipeline}
```
"""
_MODEL_WORDS = """
The model is the network of the pipeline's first network step. It takes the image in native values, as float32, and
gives the {output} plane, from 0 to 1, of the same size; height and width must be multiples of {block}. It scales each
channel itself to the mean and deviation that the network was trained with, over the whole input, so the plane may
differ if an image is cut into tiles. The steps after the network are not part of the model.

{network}
"""


@dataclass(frozen=True)
class HeldOutScore:
    """How a pipeline scored on images that its search did not see.

    Attributes
    ----------
    metric : str
    score : float
        Mean over the test images.
    interval : (float, float) or None
        95 % bootstrap interval.
    n_images : int
    dataset : str
        Its name.
    """

    metric: str
    score: float
    interval: tuple[float, float] | None
    n_images: int
    dataset: str

    def __str__(self) -> str:
        within = f" (95 % interval {self.interval[0]:.3f} to {self.interval[1]:.3f})" if self.interval else ""
        images = "1 test image" if self.n_images == 1 else f"{self.n_images} test images"
        return f"Mean {self.metric} on {images} of {self.dataset}: {self.score:.3f}{within}."


def export_bioimageio(
    pipeline: Pipeline,
    places: standalone.Places | None = None,
    reading: ReadOptions | None = None,
    held_out: HeldOutScore | None = None,
) -> bytes:
    """Return a .zip with the description of a pipeline for bioimage.io, and all files that it names.

    Parameters
    ----------
    pipeline : Pipeline
    places, reading : optional
        As of `export_bundle`.
    held_out : HeldOutScore, optional

    Raises
    ------
    ExportError
        As `export_python`; or if the pipeline asks several networks.
    """
    files = program_files(pipeline, places, reading)
    if len(pipeline.networks) > 1:
        raise ExportError(
            "the pipeline has several networks, and a bioimage.io model holds one. Export a bundle (--to bundle)."
        )
    model = _Model(pipeline) if pipeline.networks else None
    files |= {} if model is None else model.files()
    name = f"evoseg pipeline {pipeline.digest[:8]}"
    what = {"mask": "a mask", "gray": "a plane", "labels": "objects", "points": "points"}[pipeline.output]
    description = f"A pipeline of {len(pipeline)} steps that finds {what}, found by an evolutionary search."
    score = "The pipeline was not scored on held-out images." if held_out is None else str(held_out)
    files[README] = _READABLE.format(
        name=name,
        description=description,
        version=__version__,
        text=TEXT,
        program=PROGRAM,
        model="" if model is None else model.words(),
        validation=score,
        pipeline=str(pipeline).strip(),
    ).encode()
    document: dict[str, Any] = {
        "type": "application" if model is None else "model",
        "format_version": _APPLICATION_FORMAT if model is None else _MODEL_FORMAT,
        "name": name,
        "description": description,
        "authors": [{"name": "evoseg"}],
        "cite": [_CITE],
        "license": "Apache-2.0",
        "tags": ["evoseg", "segmentation", "2d"],
        "version": "1",
        "documentation": _file(README, files),
        "attachments": [_file(path, files) for path in files if path not in (README, *(model.named if model else ()))],
        "config": {"evoseg": {"pipeline": pipeline.digest, "version": __version__}},
    }
    if held_out is not None:
        document["config"]["evoseg"]["held_out"] = {
            **asdict(held_out),
            "interval": None if held_out.interval is None else [*held_out.interval],
        }
    if model is None:
        document["source"] = PROGRAM
    else:
        document |= model.entries(files)
    # By way of JSON, so that values that occur twice are written twice, without YAML's references.
    plain = json.loads(json.dumps(document))
    files[RDF] = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode()
    return zipped(files)


class _Model:
    """The network of a pipeline as a model with one image in and one plane out."""

    named = (_ONNX, _TORCHSCRIPT, "test_input.npy", "test_output.npy")

    def __init__(self, pipeline: Pipeline) -> None:
        step = next(s for s in pipeline.steps if s.operator == network.__name__)
        self._weights, self._output = (str(value) for value in step.params)
        self._facts = describe_network(self._weights)
        self._block = NETWORK_STRIDE * self._facts.reduction
        made_for = pipeline.made_for
        known = () if made_for is None or len(made_for.channels) != self._facts.channels else made_for.channels
        self._channels = [*known] or [f"channel{i}" for i in range(self._facts.channels)]

    def files(self) -> dict[str, bytes]:
        """Return the weights and the test tensors."""
        from evoseg.networks.torchscript import torchscript_network

        asked = (self._weights, self._output)
        image = _test_image(self._facts.channels, self._block)
        tensors = (np.moveaxis(image.astype(np.float32), -1, 0)[None], float_plane(image, *asked)[None, None])
        files = (image_network(*asked), torchscript_network(*asked), *map(_as_npy, tensors))
        return dict(zip(self.named, files, strict=True))

    def words(self) -> str:
        """Return what the readme says of it."""
        return _MODEL_WORDS.format(output=self._output, block=self._block, network=network_words(self._weights))

    def entries(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Return what the description says of it."""
        from evoseg.networks.torchscript import PYTORCH

        *_, given, expected = self.named
        batch = {"type": "batch", "size": 1}
        size = {"min": _LEAST_BLOCKS * self._block, "step": self._block}
        sides = [{"type": "space", "id": axis, "size": size} for axis in "yx"]
        # A network may look further, but an image must be larger than twice the halo, and many are small.
        halo = self._block
        planes = [
            {"type": "space", "id": axis, "halo": halo, "size": {"tensor_id": INPUT, "axis_id": axis}} for axis in "yx"
        ]
        return {
            "inputs": [
                {
                    "id": INPUT,
                    "description": "the image in native values",
                    "axes": [
                        batch,
                        {"type": "channel", "channel_names": self._channels},
                        *sides,
                    ],
                    "data": {"type": "float32"},
                    "test_tensor": _file(given, files),
                }
            ],
            "outputs": [
                {
                    "id": OUTPUT,
                    "description": f"the {self._output} plane, from 0 to 1",
                    "axes": [
                        batch,
                        {"type": "channel", "channel_names": [self._output]},
                        *planes,
                    ],
                    "data": {"type": "float32", "range": [0.0, 1.0]},
                    "test_tensor": _file(expected, files),
                }
            ],
            "weights": {
                "onnx": {**_file(_ONNX, files), "opset_version": OPSET},
                "torchscript": {**_file(_TORCHSCRIPT, files), "pytorch_version": PYTORCH},
            },
        }


def float_plane(image: NDArray[Any], weights: str, output: str) -> NDArray[np.float32]:
    """Return what `evoseg.operators.network` gives for an image, from 0 to 1, before it is rounded to 8 bits."""
    facts = describe_network(weights)
    matched = match_brightness(measure_brightness(image, facts.channels), facts.brightness)
    seen = prepare(image, facts.channels, facts.reduction, matched)
    net = ready_network(weights, seen.shape)
    net.setInput(seen[None])
    plane = net.forward()[0][facts.outputs.index(output)]
    rows, cols = image.shape[:2]
    size = (plane.shape[1] * facts.reduction, plane.shape[0] * facts.reduction)
    large = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[:rows, :cols]
    return np.asarray(np.clip(large, 0, 1), np.float32)


def _test_image(channels: int, block: int) -> NDArray[np.uint8]:
    """Return a drawn image whose height and width are multiples of a block."""
    drawn = standalone.drawn_image("uint8")
    rows, cols = (max(n // block, _LEAST_BLOCKS) * block for n in drawn.shape[:2])
    more = [(0, max(0, wanted - n)) for wanted, n in zip((rows, cols), drawn.shape, strict=False)]
    image = np.pad(drawn, [*more, (0, 0)], mode="symmetric")[:rows, :cols]
    return np.ascontiguousarray(image[:, :, [i % drawn.shape[2] for i in range(channels)]])


def _as_npy(array: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _file(path: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {"source": path, "sha256": sha256(files[path]).hexdigest()}
