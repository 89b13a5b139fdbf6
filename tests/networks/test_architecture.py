"""Networks compute the same in torch and in OpenCV, know how far they see, and are what EfficientNet is."""

import json
from hashlib import blake2b

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.random import default_rng
from torch import nn

from evoseg.networks.architecture import (
    Decoder,
    Member,
    PretrainedEncoder,
    SmallEncoder,
    Standard,
    adapt_channels,
    write_ensemble,
)
from evoseg.networks.cache import to_tensor
from evoseg.networks.lite0 import LITE0, LITE0_END, write_features
from evoseg.networks.weights import _weight_file, is_pretrained_available, pretrained_state

needs_weights = pytest.mark.skipif(not is_pretrained_available(), reason="the encoder's weights are not installed")
NORMS = ("weight", "bias", "running_mean", "running_var")


def shake(module: nn.Module) -> None:
    """Give every normalisation figures of its own, so that folding them wrongly shows."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.3)
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
    module.eval().requires_grad_(False)


def ensemble(kind: str, channels: int, n: int = 2, n_planes: int = 2) -> list[Member]:
    torch.manual_seed(3)
    shared = PretrainedEncoder(channels)
    for layer in shared.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    shared.standardise_taps([torch.randn(1, channels, 64, 64)])
    members = []
    for _ in range(n):
        encoder = shared if kind == "pretrained" else SmallEncoder(channels)
        members.append(Member(encoder, Decoder(channels, encoder.widths, n_planes)))
        shake(members[-1].encoder)
        shake(members[-1].decoder)
    return members


def standard(channels: int) -> Standard:
    return Standard(np.linspace(90, 110, channels, dtype=np.float32), np.linspace(30, 50, channels, dtype=np.float32))


def planes_in_torch(members: list[Member], image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        x = to_tensor(standard(len(image)).apply(image))
        logits = [member.decoder(x, member.encoder(x)) for member in members]
        return torch.sigmoid(sum(logits) / len(logits)).numpy()


@pytest.mark.parametrize("kind", ["pretrained", "small"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_torch_and_opencv_agree(kind, channels):
    members = ensemble(kind, channels)
    file = write_ensemble(members, standard(channels), {}, 2)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(file, np.uint8))
    for shape in ((16, 16), (48, 80), (112, 64)):  # non-square on purpose
        image = default_rng(1).integers(0, 256, (channels, *shape)).astype(np.float32)
        network.setInput(image[None])
        wanted = planes_in_torch(members, image)
        # A quarter of a grey level: the oldest OpenCV that evoseg takes is off by 7.5e-4, newer ones by less than 1e-5.
        np.testing.assert_allclose(network.forward(), wanted, atol=1e-3, rtol=0)
        assert wanted.std() > 0.02


def test_equal_networks_give_equal_files_and_say_what_they_are():
    about = {"version": 1, "outputs": ["foreground", "distance"]}
    files = [write_ensemble(ensemble("pretrained", 3), standard(3), about, 2) for _ in range(2)]
    assert len({blake2b(file).digest() for file in files}) == 1
    assert json.dumps(about, sort_keys=True).encode() in files[0]


@pytest.mark.parametrize("kind", ["pretrained", "small"])
def test_a_pixel_influences_as_far_as_a_network_says_and_no_farther(kind):
    member = ensemble(kind, 1, n=1, n_planes=1)[0]
    for layer in [*member.encoder.modules(), *member.decoder.modules()]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data.abs_().div_(layer.weight[0].sum())  # positive, or influences could cancel
            if layer.bias is not None:
                layer.bias.data.zero_()
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            layer.eps = 0
    for i in range(4):
        if kind == "pretrained":
            scale, shift = member.encoder.figures(i)
            scale.fill_(1), shift.fill_(0)
    member.encoder.double(), member.decoder.double()
    side, reach = 512, member.reach()
    farthest = 0
    for at in range(side // 2, side // 2 + 16):
        image = torch.zeros(1, 1, side, 32, dtype=torch.float64)
        image[0, 0, at] = 1
        with torch.inference_mode():
            rows = torch.nonzero(member.decoder(image, member.encoder(image))[0, 0, :, 8] - member.decoder.head.bias)
        farthest = max(farthest, at - int(rows.min()), int(rows.max()) - at)
    assert farthest == reach


@needs_weights
def test_the_encoder_is_efficientnet_lite0():
    encoder = PretrainedEncoder(3).eval().requires_grad_(False)
    encoder.load_lite0(pretrained_state())
    image = torch.from_numpy(default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32))
    for found, wanted in zip(encoder(image), published_taps(0.45 * image)[:4], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


@needs_weights
def test_features_are_those_of_efficientnet_lite0():
    views = default_rng(0).standard_normal((2, 3, 64, 96)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(write_features(pretrained_state()), np.uint8))
    net.setInput(views)
    *_, head = published_taps(torch.from_numpy(views))
    np.testing.assert_allclose(6 * net.forward(), head.mean((2, 3), keepdim=True), atol=1e-4)


@needs_weights
def test_weights_are_read_as_torch_reads_them():
    wanted = torch.load(_weight_file(), map_location="cpu", weights_only=True)
    found = pretrained_state()
    assert list(found) == list(wanted)
    assert all(np.array_equal(values, wanted[name].numpy()) for name, values in found.items())


def published_taps(x: torch.Tensor) -> list[torch.Tensor]:
    """Compute EfficientNet-Lite0 as published: TensorFlow's padding, batch normalisation apart; the head is last."""
    state = {name: torch.from_numpy(values) for name, values in pretrained_state().items()}

    def layer(x, conv, norm, stride=1, groups=1, linear=False):
        weight = state[f"{conv}.weight"]
        total = [max(0, (-(-n // stride) - 1) * stride + weight.shape[2] - n) for n in x.shape[2:]]
        padded = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        weight_bias = [state[f"{norm}.{name}"] for name in NORMS]
        y = F.conv2d(padded, weight, stride=stride, groups=groups)
        y = F.batch_norm(y, weight_bias[2], weight_bias[3], weight_bias[0], weight_bias[1], eps=1e-3)
        return y if linear else F.relu6(y)

    x = layer(x, "_conv_stem", "_bn0", stride=2)
    taps, i = [], 0
    for stage in (*LITE0, *LITE0_END):
        for n in range(stage.n_blocks):
            name, stride = f"_blocks.{i}", stage.stride if n == 0 else 1
            y = layer(x, f"{name}._expand_conv", f"{name}._bn0") if stage.expansion > 1 else x
            y = layer(y, f"{name}._depthwise_conv", f"{name}._bn1", stride, groups=y.shape[1])
            y = layer(y, f"{name}._project_conv", f"{name}._bn2", linear=True)
            x = x + y if n else y
            i += 1
        if stage.is_tap:
            taps.append(x)
    return [*taps, layer(x, "_conv_head", "_bn1")]


def test_one_channel_is_shown_as_grey_and_further_ones_begin_unseen():
    kernel = torch.randn(4, 3, 3, 3)

    def adapted(channels: int) -> torch.Tensor:
        return torch.from_numpy(adapt_channels(kernel.numpy(), channels))

    image = torch.randn(1, 1, 8, 8)
    grey = F.conv2d(0.45 * image.repeat(1, 3, 1, 1), kernel)
    torch.testing.assert_close(F.conv2d(image, adapted(1)), grey)
    many = torch.cat([image.repeat(1, 3, 1, 1), torch.randn(1, 2, 8, 8)], dim=1)
    torch.testing.assert_close(F.conv2d(many, adapted(5)), grey)
