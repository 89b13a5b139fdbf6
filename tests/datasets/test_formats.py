"""Image formats of the field: files written by the library that owns each are read to the same values."""

import io
import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.io import stacks
from evoseg.datasets.io.files import list_pages, read_header, read_image
from evoseg.datasets.io.formats import FILE_FORMATS, LIMITS, RASTER
from evoseg.datasets.reading import ReadOptions
from tests.datasets.written_formats import PIXEL_MM, WRITERS, dicom, ome_zarr

for package in ("nibabel", "pydicom", "h5py", "zarr", "pylibCZIrw"):
    pytest.importorskip(package)

RNG = default_rng(20261129)
SHAPE = (37, 53)  # Non-square on purpose: swapped axes must fail.
GRAYS = [
    RNG.integers(0, 256, SHAPE, np.uint8),
    RNG.integers(0, 65536, SHAPE, np.uint16),
    RNG.integers(0, 4096, SHAPE, np.uint16),
    RNG.integers(-1024, 3072, SHAPE, np.int16),
    RNG.normal(0, 1e4, SHAPE).astype(np.float32),
    RNG.random(SHAPE) > 0.5,
]
VOLUME = RNG.integers(0, 65536, (4, *SHAPE), np.uint16)
RGB = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)
HOLDS_NOT = {"nii": ["bool"], "nii.gz": ["bool"], "dcm": ["bool", "float32"], "czi": ["bool", "int16"]}
"""Types that a format does not hold."""


@pytest.mark.parametrize(
    ("ending", "array"),
    [
        pytest.param(ending, array, id=f"{ending}-{array.dtype}-{array.max():.0f}")
        for ending in WRITERS
        for array in GRAYS
        if array.dtype not in HOLDS_NOT.get(ending, ())
    ],
)
def test_pixels_keep_their_values(tmp_path, ending, array):
    WRITERS[ending](tmp_path / f"a.{ending}", array)
    image = read_image(tmp_path / f"a.{ending}")
    native = {"bool": np.uint8, "int16": np.float32}.get(str(array.dtype), array.dtype)
    expected = array * np.uint8(255) if array.dtype == bool else array
    assert image.dtype == native and image.shape == (*SHAPE, 1)
    np.testing.assert_array_equal(image[..., 0], expected)


@pytest.mark.parametrize("ending", ["npy", "npz", "h5", "dcm", "ome.zarr", "czi"])
def test_colours_are_channels(tmp_path, ending):
    WRITERS[ending](tmp_path / f"a.{ending}", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}"), RGB)
    # OME-Zarr knows channels only.
    assert read_header(tmp_path / f"a.{ending}").names == (("C1", "C2", "C3") if ending == "ome.zarr" else tuple("RGB"))


def test_colours_of_a_nifti_file_are_channels(tmp_path):
    import nibabel

    packed = np.ascontiguousarray(RGB.transpose(1, 0, 2)).view([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(packed.reshape(SHAPE[::-1]), np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii"), RGB)


@pytest.mark.parametrize("ending", list(WRITERS))
def test_a_plane_of_a_volume_is_named(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path, VOLUME)
    with pytest.raises(DatasetError, match="several pages with axes ZYX of 4 x 37 x 53. Name the page"):
        read_image(path)
    for page in ("2", "Z=2"):
        np.testing.assert_array_equal(read_image(path, ReadOptions(page=page))[..., 0], VOLUME[2])
    assert [read.page for read in list_pages(path).values()] == ["Z=0", "Z=1", "Z=2", "Z=3"]
    np.testing.assert_array_equal(read_image(path, ReadOptions(axes="CYX")), np.moveaxis(VOLUME, 0, -1))
    # A slice along another axis.
    np.testing.assert_array_equal(read_image(path, ReadOptions(axes="YXZ", page="9"))[..., 0], VOLUME[..., 9])


def test_axes_that_an_hdf5_file_names_are_taken(tmp_path):
    import h5py

    for name in ("ilastik", "labels"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            data = file.create_dataset("data", data=VOLUME.transpose(1, 2, 0))
            if name == "ilastik":
                data.attrs["axistags"] = '{"axes": [{"key": "y"}, {"key": "x"}, {"key": "z"}]}'
            else:
                for dimension, label in zip(data.dims, "yxz", strict=True):
                    dimension.label = label
        np.testing.assert_array_equal(read_image(tmp_path / f"{name}.h5", ReadOptions(page="Z=3"))[..., 0], VOLUME[3])


@pytest.mark.parametrize("ending", ["npz", "h5"])
def test_one_of_several_arrays_is_named(tmp_path, ending):
    import h5py

    path, arrays = tmp_path / f"a.{ending}", {"raw": GRAYS[1], "smooth": GRAYS[0]}
    if ending == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    with pytest.raises(DatasetError, match=r"holds 2 images \(raw, smooth\).*--series raw"):
        read_image(path)
    for series in ("smooth", "/smooth", "1"):
        np.testing.assert_array_equal(read_image(path, ReadOptions(series=series))[..., 0], GRAYS[0])
    with pytest.raises(DatasetError, match="none of which is called rough"):
        read_image(path, ReadOptions(series="rough"))


def test_an_hdf5_file_that_names_others_is_read_by_itself(tmp_path):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = GRAYS[0]
    (tmp_path / "raw.bin").write_bytes(GRAYS[0].tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        file.create_dataset("outside", SHAPE, "u1", external=[(str(tmp_path / "raw.bin"), 0, GRAYS[0].size)])
        layout = h5py.VirtualLayout(SHAPE, "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", SHAPE)
        file.create_virtual_dataset("virtual", layout)
    with pytest.raises(DatasetError, match="holds no image"):
        read_image(tmp_path / "a.h5", ReadOptions(series="linked"))


def test_python_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{"masks": 1}]]), allow_pickle=True)
    with pytest.raises(DatasetError, match="a Python pickle, which could run any code"):
        read_image(tmp_path / "a.npy")


def test_slope_and_intercept_are_applied(tmp_path):
    import nibabel

    dicom(tmp_path / "a.dcm", GRAYS[2], RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    expected = 2 * GRAYS[2].astype(np.float32) - 1024
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm")[..., 0], expected)
    assert read_header(tmp_path / "a.dcm").dtype == np.float64
    scaled = nibabel.Nifti1Image(GRAYS[2].T, np.eye(4))
    scaled.header.set_slope_inter(2, -1024)
    nibabel.save(scaled, tmp_path / "a.nii")
    stored = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii")[..., 0], stored.get_fdata().T)


def test_high_is_bright_in_dicom_files(tmp_path):
    dicom(tmp_path / "a.dcm", GRAYS[2], PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm")[..., 0], 4095 - GRAYS[2])


def test_a_compressed_dicom_file_is_read_to_the_same_values(tmp_path):
    from pydicom import dcmread
    from pydicom.uid import RLELossless

    dicom(tmp_path / "a.dcm", GRAYS[1])
    data = dcmread(tmp_path / "a.dcm")
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm")[..., 0], GRAYS[1])


def test_a_scale_of_an_ome_zarr_image_is_named_and_the_first_is_the_default(tmp_path):
    for zarr_format in (2, 3):
        path = tmp_path / f"{zarr_format}.zarr"
        ome_zarr(path, VOLUME, zarr_format=zarr_format)
        np.testing.assert_array_equal(read_image(path, ReadOptions(page="1"))[..., 0], VOLUME[1])
        coarse = ReadOptions(page="1", series="1")
        np.testing.assert_array_equal(read_image(path, coarse)[..., 0], VOLUME[1, ::2, ::2])
        assert read_header(path, reading=coarse).pixel_size_um == pytest.approx([2000 * mm for mm in PIXEL_MM])


def test_a_zarr_folder_without_words_about_it_is_an_array(tmp_path):
    import zarr

    zarr.create_array(tmp_path / "a.zarr", data=VOLUME)
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr", ReadOptions(page="1"))[..., 0], VOLUME[1])
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    for name, array in (("raw", GRAYS[1]), ("deep/smooth", GRAYS[0])):
        group.create_array(name, shape=array.shape, dtype=array.dtype)[:] = array
    np.testing.assert_array_equal(read_image(tmp_path / "b.zarr", ReadOptions(series="deep/smooth"))[..., 0], GRAYS[0])
    with pytest.raises(DatasetError, match="holds 2 images"):
        read_image(tmp_path / "b.zarr")


def test_a_zarr_folder_with_a_link_out_of_it_is_refused(tmp_path):
    ome_zarr(tmp_path / "a.zarr", GRAYS[0])
    chunk = next(path for path in sorted((tmp_path / "a.zarr" / "0").rglob("*")) if path.is_file())
    (tmp_path / "outside").write_bytes(chunk.read_bytes())
    chunk.unlink()
    chunk.symlink_to(tmp_path / "outside")
    with pytest.raises(DatasetError, match="a link out of the folder"):
        read_image(tmp_path / "a.zarr")


def test_channels_and_scenes_of_a_czi_file(tmp_path):
    from pylibCZIrw import czi as zeiss

    with zeiss.create_czi(str(tmp_path / "a.czi")) as file:
        for c, plane in enumerate(VOLUME[:2]):
            for scene in range(2):
                place = (200 * scene, 0)
                pixels = np.ascontiguousarray(plane[scene:, :, None])
                file.write(pixels, plane={"C": c, "T": 0, "Z": 0}, scene=scene, location=place)
        file.write_metadata("picture", channel_names={0: "DAPI", 1: "GFP"})
    with pytest.raises(DatasetError, match=r"holds 2 images \(0, 1\)"):
        read_image(tmp_path / "a.czi")
    second = ReadOptions(series="1")
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi", second), np.moveaxis(VOLUME[:2, 1:], 0, -1))
    assert read_header(tmp_path / "a.czi", reading=second).labels == ("DAPI", "GFP")
    green = ReadOptions(series="0", channel="GFP")
    np.testing.assert_array_equal(read_image(tmp_path / "a.czi", green)[..., 0], VOLUME[1])


def through(monkeypatch, tmp_path, name, reading, **modules):
    """Return what the reader of a file gives here, with stand-ins for the library that it asks."""
    for module, content in modules.items():
        monkeypatch.setitem(sys.modules, module.replace("_", "."), SimpleNamespace(**content))
    monkeypatch.setattr(stacks, "format_of", lambda path, file: name)
    stacks._stack_in.cache_clear()
    found = stacks.decode(tmp_path / "a", io.BytesIO(b"content"), LIMITS, reading)
    return found.pixels, found.header


def test_a_nikon_file_is_read_frame_by_frame(monkeypatch, tmp_path):
    # Positions, depth, channels: as nd2 0.12 gives it, without axes of length 1.
    film = RNG.integers(0, 65536, (3, 4, 2, *SHAPE), np.uint16)

    class File:
        sizes: ClassVar = {"P": 3, "Z": 4, "C": 2, "Y": SHAPE[0], "X": SHAPE[1]}
        dtype = film.dtype
        metadata = SimpleNamespace(channels=[SimpleNamespace(channel=SimpleNamespace(name=n)) for n in ("DAPI", "GFP")])

        def __init__(self, file):
            assert file.read() == b"content"

        def voxel_size(self):
            return SimpleNamespace(x=0.25, y=0.5, z=1.0)

        def read_frame(self, index):
            return film.reshape(12, 2, *SHAPE)[index]

    reading = ReadOptions(page="P=2,Z=1")
    pixels, header = through(monkeypatch, tmp_path, "ND2", reading, nd2={"ND2File": File})
    np.testing.assert_array_equal(pixels, np.moveaxis(film[2, 1], 0, -1))
    assert header.labels == ("DAPI", "GFP") and header.pixel_size_um == (0.5, 0.25)
    assert header.pages == (("P", 3), ("Z", 4))
    stack = ReadOptions(axes="PCTYX", page="P=2,T=1")
    pixels, _ = through(monkeypatch, tmp_path, "ND2", stack, nd2={"ND2File": File})
    np.testing.assert_array_equal(pixels, np.moveaxis(film[2, :, 1], 0, -1))


def test_a_leica_file_is_read_frame_by_frame(monkeypatch, tmp_path):
    film = RNG.integers(0, 256, (2, 3, *SHAPE), np.uint8)  # time and channels

    def series(name, factor):
        def frame(z, t, c, m):
            assert z == m == 0
            return Image.fromarray(film[t, c] // factor)

        dims = SimpleNamespace(x=SHAPE[1], y=SHAPE[0], z=1, t=2, m=1)
        scale = (4.0, 2.0, None, None)
        return SimpleNamespace(name=name, dims=dims, channels=3, scale=scale, bit_depth=(8, 8, 8), get_frame=frame)

    images = [series("overview", 2), series("detail", 1)]
    library = {"LifFile": lambda file: SimpleNamespace(get_iter_image=lambda: iter(images))}
    reading = ReadOptions(series="detail", page="1")
    pixels, header = through(monkeypatch, tmp_path, "LIF", reading, readlif_reader=library)
    np.testing.assert_array_equal(pixels, np.moveaxis(film[1], 0, -1))
    assert header.pixel_size_um == (0.5, 0.25) and header.dtype == np.uint8
    with pytest.raises(DatasetError, match=r"holds 2 images \(overview, detail\)"):
        through(monkeypatch, tmp_path, "LIF", ReadOptions(page="1"), readlif_reader=library)


@pytest.mark.parametrize("ending", ["h5", "nii", "nii.gz", "dcm", "ome.zarr", "czi"])
def test_the_size_of_pixels_is_read(tmp_path, ending):
    WRITERS[ending](tmp_path / f"a.{ending}", VOLUME)
    size = read_header(tmp_path / f"a.{ending}", reading=ReadOptions(page="1")).pixel_size_um
    assert size == pytest.approx(tuple(1000 * mm for mm in PIXEL_MM))


def test_a_size_without_a_unit_is_not_known(tmp_path):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(GRAYS[0].T, np.diag([0.5, 0.25, 1, 1])), tmp_path / "a.nii")
    assert read_header(tmp_path / "a.nii").pixel_size_um is None


@pytest.mark.parametrize("ending", list(WRITERS))
def test_a_dataset_is_that_of_png_files(tmp_path, ending):
    mask = np.hypot(*np.ogrid[-18:19, -26:27]) < 9
    folders = {}
    for kind in ("png", ending):
        folders[kind] = tmp_path / kind
        for part in ("images", "masks"):
            (folders[kind] / part).mkdir(parents=True)
        for i in range(2):
            for part, array in (("images", np.roll(GRAYS[0], i, 0)), ("masks", mask.astype(np.uint8))):
                path = folders[kind] / part / f"scan_{i}.{kind}"
                if kind == "png":
                    Image.fromarray(array).save(path)
                else:
                    WRITERS[kind](path, array)
    assert not check(folders[ending]).problems
    plain, other = Dataset(folders["png"]), Dataset(folders[ending])
    assert plain.stems == other.stems == ("scan_0", "scan_1")
    for stem in plain.stems:
        for part in ("image", "mask"):
            np.testing.assert_array_equal(getattr(plain.load(stem), part), getattr(other.load(stem), part))


@pytest.mark.parametrize(
    ("ending", "package"),
    [("h5", "h5py"), ("nii.gz", "nibabel"), ("dcm", "pydicom"), ("ome.zarr", "zarr"), ("czi", "pylibCZIrw")],
)
def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch, ending, package):
    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path, GRAYS[0])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError) as error:
        read_image(path)
    name = next(one.name for one in FILE_FORMATS if one.package == package)
    assert str(error.value) == (
        f"{path}: is a {name} image; reading these needs {package}: pip install 'evoseg[formats]'."
    )


def test_each_format_has_one_reader():
    assert {one.name for one in FILE_FORMATS} == {*RASTER, "TIFF", *stacks.READERS}


def mutations(data: bytes, n: int, seed: int):
    """Yield damaged variants of a file: bytes changed, most of them near its beginning, parts left out or repeated."""
    rng = default_rng(seed)
    for i in range(n):
        bad = bytearray(data)
        if i % 5 == 4:
            cut = sorted(rng.integers(0, len(bad), 2).tolist())
            bad[cut[0] : cut[1]] = bytes(bad[cut[0] : cut[1]]) * int(rng.integers(0, 3))
        else:
            reach = len(bad) if i % 2 else min(len(bad), 600)
            for place in rng.integers(0, reach, int(rng.integers(1, 6))).tolist():
                bad[place] = int(rng.choice([0, 255, 128, int(rng.integers(0, 256))]))
        yield bytes(bad)


def refusal(path) -> str:
    """Return the error about a file, "" if it is read."""
    try:
        for read in (read_header, read_image):
            read(path, reading=ReadOptions(page="0"))
    except DatasetError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("ending", list(WRITERS))
def test_a_damaged_file_is_read_or_refused_with_one_clear_error(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path, VOLUME[:2, :9, :11])
    said = []
    # Of a folder, a file that describes an array.
    file = path if path.is_file() else path / "0" / ".zarray"
    for bad in mutations(file.read_bytes(), 8, seed=len(ending)):
        file.write_bytes(bad)
        said.append(refusal(path))
    assert any(said)
    assert all(one.startswith(f"{path}: ") and "\n" not in one for one in filter(None, said))


@pytest.mark.parametrize("ending", list(WRITERS))
def test_a_file_that_breaks_off_is_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    WRITERS[ending](path, VOLUME)
    file = path if path.is_file() else path / "0" / "0.0.0"
    file.write_bytes(file.read_bytes()[: -min(2000, file.stat().st_size // 2)])
    with pytest.raises(DatasetError, match=rf"a\.{ending}: the file is damaged or cut off"):
        read_image(path, ReadOptions(page="3"))
