"""Arrays written by the libraries that own each format."""

import numpy as np

PIXEL_MM = (0.5, 0.25)
"""Height and width of a pixel in the files that say it."""


def npy(path, array):
    np.save(path, array)


def npz(path, array):
    np.savez(path, picture=array, exposure=np.float64(0.1))


def hdf5(path, array):
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_dataset("group/picture", data=array, compression="gzip")
        data.attrs["element_size_um"] = [1.0, *(1000 * mm for mm in PIXEL_MM)][-array.ndim :]
        file["exposure"] = 0.1


def nifti(path, array):
    import nibabel

    image = nibabel.Nifti1Image(array.T, np.diag([*PIXEL_MM[::-1], 2, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def dicom(path, array, **more):
    """Write grey pixels (M, N), frames (T, M, N), or uint8 colours (M, N, 3)."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    colours = array.ndim == 3 and array.shape[-1] == 3
    data.SamplesPerPixel = 3 if colours else 1
    data.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        data.PlanarConfiguration = 0
    elif array.ndim == 3:
        data.NumberOfFrames = len(array)
    data.Rows, data.Columns = array.shape[:2] if colours or array.ndim == 2 else array.shape[1:]
    data.BitsAllocated = data.BitsStored = 8 * array.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    data.PixelSpacing = list(PIXEL_MM)
    data.PixelData = np.ascontiguousarray(array).tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


def ome_zarr(path, array, *, zarr_format=2):
    """Write an image of two scales, with axes ZYX or YX, or YXC if there are three channels."""
    import zarr

    axes = "yxc" if array.ndim == 3 and array.shape[-1] == 3 else "zyx"[-array.ndim :]
    step = tuple(1 if axis in "zc" else 2 for axis in axes)
    words = [{"name": axis, "type": "channel"} if axis == "c" else {"name": axis, "type": "space"} for axis in axes]
    for word in words:
        word |= {"unit": "millimeter"} if word["type"] == "space" else {}
    sizes = {"y": PIXEL_MM[0], "x": PIXEL_MM[1]}
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    for level, scaled in enumerate((array, array[tuple(slice(None, None, n) for n in step)])):
        made = group.create_array(str(level), shape=scaled.shape, dtype=scaled.dtype, chunks=(8,) * array.ndim)
        made[:] = scaled
        scale = [sizes.get(axis, 1.0) * n**level for axis, n in zip(axes, step, strict=True)]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    multiscales = {"multiscales": [{"axes": words, "datasets": datasets}]}
    group.attrs.update(multiscales if zarr_format == 2 else {"ome": {"version": "0.5", **multiscales}})


def czi(path, array):
    """Write grey planes (M, N) or (Z, M, N), or colours (M, N, 3), by the library of Zeiss."""
    from pylibCZIrw import czi as zeiss

    colours = array.ndim == 3 and array.shape[-1] == 3
    planes = [array[..., ::-1]] if colours else [plane[..., None] for plane in array.reshape(-1, *array.shape[-2:])]
    with zeiss.create_czi(str(path), exist_ok=True) as file:
        for z, plane in enumerate(planes):
            file.write(np.ascontiguousarray(plane), plane={"Z": z, "C": 0, "T": 0})
        file.write_metadata("picture", scale_y=PIXEL_MM[0] / 1e3, scale_x=PIXEL_MM[1] / 1e3)


WRITERS = {
    "npy": npy,
    "npz": npz,
    "h5": hdf5,
    "nii": nifti,
    "nii.gz": nifti,
    "dcm": dicom,
    "ome.zarr": ome_zarr,
    "czi": czi,
}
"""By ending."""
