"""Files of weights: which are read, and which are refused and why."""

import pickle
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evoseg.core.errors import EvosegError
from evoseg.networks.embedding import WeightsError, bundled_weights, read_weights, resnet
from evoseg.networks.resnet import SLIM
from tests.networks.networks import RESNET18, TINY, filled, photo


def written(path: Path, state: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({name: values.contiguous() for name, values in state.items()}, path)
    return path


def test_the_shipped_weights_are_small_and_of_the_slim_network():
    assert bundled_weights().stat().st_size <= 6_000_000
    plan, _ = read_weights(bundled_weights())
    assert plan == SLIM


def test_torchvisions_file_is_read_with_its_classifier_left_out(tmp_path):
    state = filled(RESNET18) | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    found = resnet(written(tmp_path / "resnet18.pth", state))
    assert found.dim == 512
    assert found.embed(photo()).shape == (512,)


def test_an_id_belongs_to_the_weights_not_to_the_file(tmp_path):
    one = filled(TINY)
    half = {name: values.half() if values.is_floating_point() else values for name, values in one.items()}
    other = {**one, "conv1.weight": one["conv1.weight"] + 1e-6}
    bare = {name: values for name, values in one.items() if not name.endswith("num_batches_tracked")}
    files = [("a.pth", one), ("b.safetensors", one), ("c.safetensors", bare), ("d.pth", other), ("e.pth", half)]
    ids = [resnet(written(tmp_path / name, state)).id for name, state in files]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path(sys.argv[0]).parent / "sprung",))


def damage(folder: Path, kind: str) -> Path:
    good, file = filled(TINY), folder / "w.safetensors"
    match kind:
        case "missing":
            return folder / "nothing.pth"
        case "folder":
            (folder / "w.pth").mkdir()
            return folder / "w.pth"
        case "ending":
            return written(folder / "w.pth", good).rename(folder / "w.bin")
        case "empty":
            file.touch()
        case "empty pth":
            (folder / "w.pth").touch()
            return folder / "w.pth"
        case "text":
            file.write_text("conv1.weight: 3\n" * 100)
        case "text pth":
            (folder / "w.pth").write_text("conv1.weight: 3\n" * 100)
            return folder / "w.pth"
        case "cut short" | "cut short pth":
            whole = written(folder / ("w.pth" if kind.endswith("pth") else "w.safetensors"), good)
            whole.write_bytes(whole.read_bytes()[:-1000])
            return whole
        case "flipped header":
            content = bytearray(written(file, good).read_bytes())
            content[3] ^= 0xFF
            file.write_bytes(content)
        case "code":
            (folder / "w.pth").write_bytes(pickle.dumps({"conv1.weight": Trap()}))
            return folder / "w.pth"
        case "list":
            torch.save([1, 2], folder / "w.pth")
            return folder / "w.pth"
        case "nested":
            torch.save({"state_dict": good}, folder / "w.pth")
            return folder / "w.pth"
        case "another network":
            written(file, {"encoder.weight": torch.zeros(3, 3)})
        case "scalars":
            written(file, {f"layer{i}.0.conv1.weight": torch.tensor(1.0) for i in (1, 2, 3, 4)})
        case "one missing":
            written(file, {name: values for name, values in good.items() if name != "layer2.1.bn2.bias"})
        case "one more":
            written(file, good | {"layer2.7.conv2.weight": torch.zeros(1)})
        case "shape":
            written(file, good | {"layer3.0.conv2.weight": torch.zeros(4, 4, 5, 5)})
        case "nan":
            written(file, good | {"bn1.bias": torch.tensor([0.0, torch.nan])})
    return file


KINDS = (
    "missing", "folder", "ending", "empty", "empty pth", "text", "text pth", "cut short", "cut short pth",
    "flipped header", "code", "list", "nested", "another network", "scalars", "one missing", "one more", "shape", "nan",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_good_gives_one_clear_error(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "program")])
    path = damage(tmp_path, kind)
    with pytest.raises(WeightsError) as stopped:
        resnet(path)
    message = str(stopped.value)
    assert isinstance(stopped.value, EvosegError)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 400
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("one missing", "the parameter layer2.1.bn2.bias is missing"),
        ("one more", "the parameter layer2.7.conv2.weight is not one"),
        ("shape", r"layer3.0.conv2.weight is \(4, 4, 5, 5\), not \(4, 4, 3, 3\)"),
        ("nan", "bn1.bias holds values that are not finite"),
    ],
)
def test_the_error_names_the_parameter(tmp_path, kind, words):
    with pytest.raises(WeightsError, match=words):
        resnet(damage(tmp_path, kind))
