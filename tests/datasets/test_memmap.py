"""Packs: bytes kept, read-only views, faults named, memory bounded."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.errors import DatasetError
from evoseg.datasets.memmap import Pack, write_pack

RNG = default_rng(7)
ITEMS = [
    ("first", {"image": RNG.integers(0, 65536, (5, 7, 3), np.uint16), "mask": RNG.random((5, 7)) > 0.5}),
    ("second", {"image": RNG.random((3, 2, 1), np.float32), "points": np.zeros((0, 2)), "level": np.array(3, ">i4")}),
]


def test_arrays_come_back_as_they_were(tmp_path):
    write_pack(tmp_path / "a.pack", ITEMS)
    pack = Pack(tmp_path / "a.pack")
    assert pack.names == ("first", "second") and len(pack) == 2
    for (_, arrays), item in zip(ITEMS, pack.items, strict=True):
        assert item.keys() == arrays.keys()
        for key, array in arrays.items():
            assert type(item[key]) is np.ndarray
            assert item[key].dtype == array.dtype.newbyteorder("=") and item[key].shape == array.shape
            assert np.array_equal(item[key], array)
            assert item[key].flags.c_contiguous and not item[key].flags.writeable


def test_arrays_start_at_multiples_of_64_bytes(tmp_path):
    pack = write_pack(tmp_path / "a.pack", ITEMS)
    assert all(a.ctypes.data % 64 == 0 for item in pack.items for a in item.values() if a.size)


def test_a_strided_array_is_packed_as_it_looks(tmp_path):
    array = np.arange(60).reshape(6, 10)[::2, ::3].T
    assert np.array_equal(write_pack(tmp_path / "a.pack", [("x", {"a": array})]).items[0]["a"], array)


def test_a_pack_travels_as_its_path(tmp_path):
    pack = pickle.loads(pickle.dumps(write_pack(tmp_path / "a.pack", ITEMS)))
    assert np.array_equal(pack.items[0]["mask"], ITEMS[0][1]["mask"])


def test_digests_depend_on_content_and_find_a_change(tmp_path):
    path = tmp_path / "a.pack"
    pack = write_pack(path, ITEMS)
    pack.verify()
    assert pack.digests == write_pack(tmp_path / "b.pack", reversed(ITEMS)).digests[::-1]
    data = bytearray(path.read_bytes())
    data[64] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="item first has changed"):
        Pack(path).verify()


@pytest.mark.parametrize("size", [0, 10, 32, 200, -1])
def test_a_pack_cut_off_is_refused(tmp_path, size):
    path = tmp_path / "a.pack"
    write_pack(path, ITEMS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match="not a complete pack"):
        Pack(path)


def test_faults_are_named_and_leave_no_file(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        Pack(tmp_path / "a.pack")
    with pytest.raises(DatasetError, match="comes twice"):
        write_pack(tmp_path / "a.pack", [ITEMS[0], ITEMS[0]])
    with pytest.raises(DatasetError, match="only booleans and numbers"):
        write_pack(tmp_path / "a.pack", [("x", {"a": np.array(["text"])})])
    with pytest.raises(DatasetError, match="cannot be written"):
        write_pack(tmp_path / "nowhere" / "a.pack", ITEMS)
    assert not list(tmp_path.iterdir())


def test_an_empty_pack_is_a_pack(tmp_path):
    assert len(write_pack(tmp_path / "a.pack", [])) == 0


def test_items_are_written_one_at_a_time(tmp_path):
    items = ((str(i), {"image": np.full((512, 1024, 3), i, np.uint8)}) for i in range(30))
    tracemalloc.start()
    write_pack(tmp_path / "a.pack", items)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20  # The pack holds 45 MB.
