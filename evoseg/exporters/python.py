"""A pipeline as one Python file that needs numpy and cv2 only."""

import ast
import zlib
from base64 import b64encode
from dataclasses import replace
from pprint import pformat
from textwrap import fill

from evoseg import __version__
from evoseg.core import transforms
from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Kind
from evoseg.core.transforms import SHIFT
from evoseg.datasets import imageformat
from evoseg.exporters import standalone
from evoseg.exporters.excerpts import Excerpts, ExportError
from evoseg.exporters.network_planes import facts_of, network_planes_of
from evoseg.metrics import alignment
from evoseg.metrics.alignment import transform_between
from evoseg.operators import network, registry
from evoseg.operators.network import describe_network, network_bytes
from evoseg.pipeline.textform import print_text
from evoseg.pipeline.value import Pipeline
from evoseg.sandbox.operators import admitted_code
from evoseg.sandbox.zygote import Invalid, as_declared

_HEADER = '''"""{what}, with a pipeline written by evoseg {version}.

This file stands alone: it needs Python, numpy and OpenCV (cv2), and no part of evoseg.

    python FILE.py IMAGE...       write {result} beside each image; nothing is overwritten{usage}
    python FILE.py --self-test    check that this machine gives the same result as the one that wrote the file

From Python: `pipeline(image)` takes an array of shape (M, N) or (M, N, C), colours in the order R, G, B, and returns
{returned}.{registers}
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
{planes}

def self_test():
    """Check the pipeline on drawn images; return True if every pixel is as expected."""
    cv2.ipp.setUseIPP(False)
    differing = [
        depth
        for depth, expected in EXPECTED.items()
        if {differs}
    ]
    if differing:
        print(f"self-test FAILED: the result differs from evoseg's for {{', '.join(differing)}}")
    else:
        print(f"self-test passed ({{', '.join(EXPECTED)}})")
    return not differing


def read(path):
    """Return an image as (M, N, C), colours in the order R, G, B and without transparency."""
    return read_image(path, PLACES, len(MADE_FOR["channels"]) if MADE_FOR else 0)


{register}def main(arguments):
    """Apply the pipeline to the files named on the command line."""
    if arguments == ["--self-test"]:
        return 0 if self_test() else 1
{registering}    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest: print(f"warning: {{path}}: {{message}}", file=sys.stderr)
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

{weights}
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
'''

_USAGE = """
    python FILE.py --register FIXED MOVING    align two images: print what moves them, and write MOVING_aligned.tif"""
_REGISTERS = """
`register(fixed, moving)` takes two images of one size, and returns [[yy, yx, dy], [xy, xx, dx]]: what is at (row, col)
in `fixed` is at (yy row + yx col + dy, xy row + xx col + dx) in `moving`. `resample(moving, transform)` aligns them."""
_REGISTER = '''def register(fixed, moving):
    """Return what moves an image against another, float64 (2, 3); the kind of it is {transform}."""
    if fixed.shape[:2] != moving.shape[:2]:
        raise ValueError(f"the images are {{fixed.shape[:2]}} and {{moving.shape[:2]}}; both must have one size.")
    return transform_between(pipeline(fixed), pipeline(moving), "{transform}")


def align(fixed, moving):
    """Align the files of two images."""
    target = Path(moving).with_name(Path(moving).stem + "_aligned.tif")
    if target.exists():
        raise SystemExit(f"{{target}}: exists already; move it away first.")
    try:
        image = read(moving)
        transform = register(read(fixed), image)
        print("yy,yx,dy,xy,xx,dx")
        print(",".join(f"{{number:.7g}}" for number in transform.ravel()))
        aligned = resample(image, transform)
        if aligned.shape[2] not in (1, 3):
            raise ValueError(f"{{aligned.shape[2]}} channels cannot be written; write what resample() returns.")
        # OpenCV writes colours in the order B, G, R.
        write_file(target, aligned[:, :, ::-1] if aligned.shape[2] == 3 else aligned)
    except (ValueError, OSError, cv2.error) as error:
        raise SystemExit(f"{{fixed}}, {{moving}}: {{getattr(error, 'strerror', None) or error}}") from None
    print(target)
    return 0


'''
_REGISTERING = """    if len(arguments) == 3 and arguments[0] == "--register":
        return align(*arguments[1:])
"""

_NETWORKS = '''# What is known of the networks that the pipeline asks, by the digest of each.
NETWORKS = {facts}


def describe_network(weights):
    """Return what is known of a network."""
    return NETWORKS[weights]


def network_bytes(weights):
    """Return a network's file: {where}."""
{read}
    if blake2b(data, digest_size=16).hexdigest() != weights:
        raise ValueError(f"the network is damaged: its digest is not {{weights}}. Export the pipeline again.")
    return data
'''
_EMBEDDED = """    data = b64decode(NETWORK_FILES[weights])"""
_BESIDE = """    try:
        data = Path(__file__).with_name(f"{weights}.onnx").read_bytes()
    except OSError as error:
        raise ValueError(f"{weights}.onnx: cannot be read ({error.strerror}). Keep it beside this file.") from None"""
_PLANES = '''
# What the networks gave for the drawn images: planes, compressed, by network, output and depth.
PLANES = {planes}


def differs(depth, expected):
    """Return whether a network differs by more than a level, or filters make other pixels of the stored planes."""
    image = drawn_image(depth)
    stored = {{
        (weights, output): np.frombuffer(zlib.decompress(b64decode(data)), np.uint8).reshape(image.shape[:2])
        for (weights, output, of), data in PLANES.items()
        if of == depth
    }}
    for (weights, output), plane in stored.items():
        if cv2.absdiff(network(image, weights=weights, output=output), plane).max() > 1:
            return True
    asked = globals()["network"]
    globals()["network"] = lambda image, weights, output: stored[weights, output]
    try:
        return fingerprint(pipeline.__wrapped__(image)) != expected
    finally:
        globals()["network"] = asked
'''
_EXACT = "fingerprint(pipeline.__wrapped__(drawn_image(depth))) != expected"
_FILES = """
# The networks' files, in base64.
NETWORK_FILES = {{
{files}
}}

"""

_CODES = '''\
# Python operators that are no part of evoseg: somebody, or a language model, has written them. evoseg runs them in
# a sandbox. THIS FILE RUNS THEM DIRECTLY, with all the rights of whoever starts it: read them first.{modules}
CODES = {{
{codes}
}}


def python(*inputs, code, **parameters):
    """Run one of them; every image finds the random generators as they begin."""
    source, output = CODES[code]
    scope = {{"__name__": "operator"}}
    exec(compile(source, code, "exec", __future__.annotations.compiler_flag, dont_inherit=True), scope)
    random.seed(0)
    np.random.seed(0)
    cv2.setRNGSeed(0)
    result = scope["operator"](*(array.copy() for array in inputs), **parameters)
    return as_declared(result, output, inputs[0].shape[:2], False)
'''

_WIDTH = 110
_OWN_NAMES = (
    *("pipeline", "EXPECTED", "self_test", "read", "main", "checked", "differences_of"),
    *("MADE_FOR", "READS", "COMPARES_COLOURS", "PLACES"),
    *("CODES", "python"),
    *("register", "align"),
    *("NETWORKS", "NETWORK_FILES", "PLANES", "describe_network", "network_bytes", "differs"),
)
_OWN_IMPORTS = (
    *("import sys", "import warnings", "from functools import wraps", "from pathlib import Path"),
    *("import cv2", "import numpy as np"),
)
_NETWORK_IMPORTS = (
    *("import zlib", "from base64 import b64decode", "from hashlib import blake2b"),
    "from types import SimpleNamespace",
)
_CODE_IMPORTS = ("import __future__", "import random")
_SHARED = (
    (standalone.__name__, ("drawn_image", "fingerprint", "read_image", "as_native", "write_file")),
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


def export_python(
    pipeline: Pipeline,
    places: standalone.Places | None = None,
    *,
    networks_beside: bool = False,
    transform: str = SHIFT,
) -> str:
    """Return a Python file that gives the same results as the pipeline, with numpy and cv2 only.

    Parameters
    ----------
    pipeline : Pipeline
        Run twice here, on drawn images of 96 x 131 pixels, for the test vector that the file carries.
    places : (int, places), optional
        Where the channels are in files of several pages, as `evoseg.datasets.io.files.places` says.

    networks_beside : bool
        Whether the file reads networks from beside itself; by default it holds them.
    transform : str
        What moves the pairs of images that a pipeline which returns planes is made for: the file registers them.

    Returns
    -------
    str
        Source of the file: the operators used, ``pipeline(image)``, a command line and a self-test.

    Raises
    ------
    ExportError
        If the result is an image of many channels.
    """
    operators = [registry.get(name) for name in dict.fromkeys(step.operator for step in pipeline.steps)]
    used = [op for op in operators if not op.code]
    if pipeline.output not in _KINDS:
        raise ExportError(
            f"the pipeline returns a {pipeline.output} value; only masks, planes, objects and points are exported."
        )
    parts = [(op.function.__module__, op.name) for op in used]
    parts += [(module, name) for module, names in _SHARED for name in names]
    if pipeline.output is Kind.GRAY:
        parts += [(alignment.__name__, transform_between.__name__), (transforms.__name__, transforms.resample.__name__)]
    excerpts = Excerpts(dict.fromkeys(_OWN_NAMES, ("", "")) | {name: (module, name) for module, name in parts})
    for line in _OWN_IMPORTS:
        excerpts.needs(line.split()[-1], line)
    asks = bool(pipeline.networks)
    if asks:
        for line in _NETWORK_IMPORTS:
            excerpts.needs(line.split()[-1], line)
        for name in (describe_network.__name__, network_bytes.__name__):
            excerpts.replace(network.__name__, name, name)
        excerpts.replace(PipelineError.__module__, PipelineError.__name__, "ValueError")
    if pipeline.codes:
        for line in _CODE_IMPORTS:
            excerpts.needs(line.split()[-1], line)
        excerpts.replace(Invalid.__module__, Invalid.__name__, "ValueError")
        parts.append((as_declared.__module__, as_declared.__name__))
    for module, name in parts:
        excerpts.add(module, name)
    first, program = print_text(pipeline).split("def pipeline", 1)
    body = (
        f"{first}@checked\ndef pipeline{program}{_footer(pipeline, transform, embedded=asks and not networks_beside)}"
    )
    known = [_checks(pipeline, places), *([_networks(pipeline, networks_beside)] if asks else [])]
    known += [_codes(pipeline)] if pipeline.codes else []
    return "\n\n".join([f"{_header(pipeline)}\n{excerpts.text()}\n", *known, body])


def _header(pipeline: Pipeline) -> str:
    what, result, returned, _, _ = _KINDS[pipeline.output]
    registers = pipeline.output is Kind.GRAY
    made_for = f"Made for images of {pipeline.made_for}.\n" if pipeline.made_for is not None else ""
    return _HEADER.format(
        what=what,
        usage=_USAGE if registers else "",
        registers=_REGISTERS if registers else "",
        result=result,
        returned=returned,
        version=__version__,
        digest=pipeline.digest,
        made_for=made_for.replace("\\", "\\\\").replace('"', "'"),
    )


def _checks(pipeline: Pipeline, places: standalone.Places | None) -> str:
    known = None if pipeline.made_for is None else replace(pipeline.made_for, figures=None)
    return _CHECKS.format(
        made_for=pformat(None if known is None else known.as_json(), width=_WIDTH, sort_dicts=False),
        reads=pipeline.reads(len(known.channels)) if known is not None else (),
        colours=pipeline.compares_colours,
        places=pformat(places, width=_WIDTH),
    )


def _networks(pipeline: Pipeline, beside: bool) -> str:
    """Return what the file knows of its networks."""
    facts = "".join(
        f'    "{weights}": SimpleNamespace(\n        channels={known.channels}, reduction={known.reduction}, '
        f"reach={known.reach}, outputs={known.outputs!r},\n        brightness={known.brightness!r}\n    ),\n".replace(
            "'", '"'
        )
        for weights, (known, _) in facts_of(pipeline).items()
    )
    where, read = ("it lies beside this one", _BESIDE) if beside else ("it stands at the end of this one", _EMBEDDED)
    return _NETWORKS.format(facts=f"{{\n{facts}}}", where=where, read=read)


def _codes(pipeline: Pipeline) -> str:
    """Return the Python operators of a pipeline, as source that is run."""
    codes = [admitted_code(digest).code for digest in pipeline.codes]
    shown = (f'    "{code.digest}": (\n{_quoted(code.source)},\n        "{code.output}",\n    ),' for code in codes)
    others = sorted({name.partition(".")[0] for code in codes for name in code.modules} & {"scipy", "skimage"})
    modules = f"\n# They also need {' and '.join(others)}." if others else ""
    return _CODES.format(modules=modules, codes="\n".join(shown))


def _quoted(source: str) -> str:
    """Return a source as a literal that can be read, or where that is not exact, as one that can be relied on."""
    readable = f"r'''{source}'''"
    try:
        exact = ast.literal_eval(readable) == source
    except SyntaxError:
        exact = False
    return readable if exact else repr(source)


def _planes(pipeline: Pipeline) -> str:
    """Return the test of a file with networks, whose planes need not be equal on every machine."""
    lines = [
        f'    ("{asked.weights}", "{asked.output}", "{depth}"): (\n{_base64(zlib.compress(plane.tobytes(), 9))}\n    ),'
        for asked in network_planes_of(pipeline)
        for depth, plane in asked.drawn.items()
    ]
    return _PLANES.format(planes="\n".join(["{", *lines, "}"]))


def _base64(data: bytes) -> str:
    """Return bytes as a string in triple quotes over several lines."""
    return f'"""\n{fill(b64encode(data).decode(), _WIDTH)}\n"""'


def _footer(pipeline: Pipeline, transform: str, *, embedded: bool) -> str:
    *_, suffix, write = _KINDS[pipeline.output]
    run = pipeline.for_images(None)
    expected = {depth: standalone.fingerprint(run(standalone.drawn_image(depth))) for depth in standalone.DEPTHS}
    lines = "".join(f'    "{depth}": "{digest}",\n' for depth, digest in expected.items())
    files = [f'    "{weights}": {_base64(network_bytes(weights))},' for weights in pipeline.networks]
    registers = pipeline.output is Kind.GRAY
    return _FOOTER.format(
        register=_REGISTER.format(transform=transform) if registers else "",
        registering=_REGISTERING if registers else "",
        expected=f"{{\n{lines}}}",
        suffix=suffix,
        write=write,
        differs="differs(depth, expected)" if pipeline.networks else _EXACT,
        planes=_planes(pipeline) if pipeline.networks else "",
        weights=_FILES.format(files="\n".join(files)) if embedded else "",
    )
