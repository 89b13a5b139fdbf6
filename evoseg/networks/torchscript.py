"""A trained network as TorchScript that takes an image in native values and gives one plane of the image's size."""

import io
import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evoseg.operators.network import NETWORK_STRIDE, describe_network, network_bytes
from evoseg.operators.network_file import Layer, graph_layers

PYTORCH = torch.__version__.partition("+")[0]
"""The version that writes it."""
_FLATTEST = 1e-6
"""As in `evoseg.operators.network.match_brightness`."""


def torchscript_network(weights: str, output: str) -> bytes:
    """Return the network of `evoseg.networks.image_network.image_network` as TorchScript; parameters as there."""
    side = 4 * NETWORK_STRIDE * describe_network(weights).reduction
    example = torch.rand(1, describe_network(weights).channels, side, side)
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing is deprecated in favour of exporting, which programs that read bioimage.io's models do not know yet.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(_ImageNetwork(weights, output).eval(), example), file)
    return file.getvalue()


class _ImageNetwork(nn.Module):  # type: ignore[misc]
    """The layers of a network's file, and what evoseg does around them."""

    def __init__(self, weights: str, output: str) -> None:
        super().__init__()
        facts = describe_network(weights)
        self._reduction = facts.reduction
        self._place = facts.outputs.index(output)
        self._matched = bool(facts.brightness)
        wanted = np.array(facts.brightness or [(0, 1)], np.float32)
        self.register_buffer("wanted", torch.from_numpy(wanted[:, :1, None].copy()))
        self.register_buffer("spread", torch.from_numpy(wanted[:, 1:, None].copy()))
        self._layers, constants = graph_layers(network_bytes(weights))
        self._names = {}
        for number, (name, (shape, data)) in enumerate(constants.items()):
            self._names[name] = f"constant{number}"
            self.register_buffer(
                f"constant{number}", torch.from_numpy(np.frombuffer(data, "<f4").reshape(shape).copy())
            )

    def forward(self, image: Tensor) -> Tensor:
        x = self._match_brightness(image) if self._matched else image
        x = functional.avg_pool2d(x, self._reduction) if self._reduction > 1 else x
        values = {name: getattr(self, buffer) for name, buffer in self._names.items()} | {"image": x}
        for layer in self._layers:
            values[layer.output] = _run(layer, values)
        plane = values["planes"][:, self._place : self._place + 1]
        if self._reduction > 1:
            plane = functional.interpolate(plane, scale_factor=float(self._reduction), mode="bilinear")
        return plane.clamp(0, 1)

    def _match_brightness(self, image: Tensor) -> Tensor:
        mean = image.mean((2, 3), keepdim=True)
        centred = image - mean
        deviation = centred.square().mean((2, 3), keepdim=True).sqrt()
        has_contrast = deviation > _FLATTEST * mean.abs().clamp(min=1e-12)
        gain = torch.where(has_contrast, self.spread / deviation, torch.ones_like(deviation))
        return centred * gain + self.wanted


def _run(layer: Layer, values: Mapping[str, Tensor]) -> Tensor:
    """Return the value of one layer, of the kinds that `evoseg.operators.network_file` lets pass."""
    inputs = [values[name] for name in layer.inputs]
    stride = layer.ints("strides", 2, 1, 1, NETWORK_STRIDE)[0]
    match layer.kind:
        case "Conv":
            pad, group = layer.ints("pads", 4, 0, 0, 32)[0], layer.attributes.get("group", 1)
            assert isinstance(group, int)
            return functional.conv2d(*inputs, stride=stride, padding=pad, groups=group)
        case "ConvTranspose":
            return functional.conv_transpose2d(*inputs, stride=stride)
        case "Resize":
            return functional.interpolate(inputs[0], scale_factor=2.0, mode="nearest")
        case "Concat":
            return torch.cat(inputs, 1)
        case "HardSigmoid":
            alpha, beta = (layer.attributes[name] for name in ("alpha", "beta"))
            assert isinstance(alpha, float) and isinstance(beta, float)
            return (inputs[0] * alpha + beta).clamp(0, 1)
        case "Add" | "Sub" | "Mul":
            return {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}[layer.kind](*inputs)
        case "Identity" | "Relu" | "Sigmoid":
            return {"Identity": torch.clone, "Relu": torch.relu, "Sigmoid": torch.sigmoid}[layer.kind](inputs[0])
    raise AssertionError(f"a network that was checked has no layer {layer.kind}")
