"""The optimiser is AdamW, the loss is smallest at the truth, and a pace ends."""

import numpy as np
import pytest
import torch
from torch import nn

from evoseg.networks.optimising import AdamW, Pace, loss_of, warmed_cosine


def test_it_steps_as_torchs_adamw_does():
    torch.manual_seed(0)
    own, wanted = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    wanted.load_state_dict(own.state_dict())
    rate, images = 0.01, torch.randn(2, 3, 8, 8)
    optimiser = AdamW({own: rate})
    theirs = torch.optim.AdamW(
        [
            {"params": [wanted.weight], "weight_decay": 2e-2},
            {"params": [wanted.bias], "weight_decay": 0.0},
        ],
        lr=rate,
    )
    for i in range(8):
        share = i / 8
        optimiser.step((own(images) ** 2).mean(), share)
        for group in theirs.param_groups:
            group["lr"] = rate * warmed_cosine(share)
        theirs.zero_grad()
        (wanted(images) ** 2).mean().backward()
        theirs.step()
    torch.testing.assert_close(own.weight, wanted.weight)
    torch.testing.assert_close(own.bias, wanted.bias)


def test_each_module_has_its_own_rate_and_frozen_weights_stay():
    torch.manual_seed(0)
    slow, fast, frozen = (nn.Conv2d(2, 2, 3, bias=False).to(memory_format=torch.channels_last) for _ in range(3))
    frozen.requires_grad_(False)
    before = [module.weight.detach().clone() for module in (slow, fast, frozen)]
    optimiser = AdamW({slow: 1e-4, fast: 1e-2, frozen: 1.0})
    images = torch.randn(1, 2, 9, 9)
    optimiser.step((frozen(fast(slow(images))) ** 2).mean(), 0.06)
    changes = [
        float((module.weight.detach() - old).abs().max())
        for module, old in zip((slow, fast, frozen), before, strict=True)
    ]
    # The first step of Adam is as long as the rate, in each weight.
    assert changes[0] == pytest.approx(1e-4, rel=0.05) and changes[1] == pytest.approx(1e-2, rel=0.05)
    assert changes[2] == 0
    assert slow.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_average_lags_behind_the_weights():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1)
    optimiser = AdamW({layer: 0.1})
    for _ in range(5):
        optimiser.step(layer(torch.ones(1, 1)).sum(), 0.1)
    last = float(layer.weight.detach())
    optimiser.take_average()
    assert last < float(layer.weight.detach()) < 1


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_the_loss_is_smallest_at_the_truth(level):
    truth = torch.full((1, 1, 16, 16), level)
    truth[..., :8] = 1 - level
    known = torch.ones_like(truth)
    at = {p: float(loss_of(torch.logit((truth + p).clamp(1e-4, 1 - 1e-4)), truth, known)) for p in (-0.1, 0.0, 0.1)}
    assert at[0.0] == min(at.values())


def test_unknown_pixels_do_not_count():
    logits = torch.randn(1, 2, 16, 16)
    truth = (torch.rand(1, 2, 16, 16) > 0.5).float()
    known = (torch.arange(16) < 8).float().expand(1, 1, 16, 16)
    other = torch.where(known > 0, truth, 1 - truth)
    torch.testing.assert_close(loss_of(logits, truth, known), loss_of(logits, other, known))
    assert torch.isfinite(loss_of(logits, truth, torch.zeros_like(known)))


def test_a_pace_counts_steps_or_seconds():
    done: list[int] = []
    pace = Pace(lambda: done.append(1), steps=3)
    while pace.share < 1:
        pace.count_step()
    assert len(done) == pace.n_steps == 3
    pace = Pace(lambda: None, seconds=0.05)
    while pace.share < 1:
        np.linalg.inv(np.random.default_rng(0).random((60, 60)))
    assert Pace(lambda: None, seconds=0.0).share == 1


def test_the_rate_rises_and_falls():
    rates = [warmed_cosine(share) for share in np.linspace(0, 1, 101)]
    assert (
        max(rates) <= 1 and rates[0] < 0.2 and rates[6] == pytest.approx(1, abs=0.01) and rates[-1] == pytest.approx(0)
    )
