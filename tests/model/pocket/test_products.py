"""Training with products in bfloat16 learns from the same losses; a CPU without tiles for them runs it too, slowly."""

import pytest
import torch
from torch import Tensor

from model.pocket import curriculum
from model.pocket.curriculum import Lessons
from model.pocket.family import POCKET_VARIANTS
from model.pocket.training.decoder import Decoder
from model.pocket.training.ears import Ears
from model.pocket.training.prepared import Sound
from model.pocket.training.run import Learner
from model.pocket.training.stream import BatchStream, Stage


def _losses_and_gradients(
    learner: Learner, batch: object, has_tiles: bool, patch: pytest.MonkeyPatch
) -> tuple[dict[str, Tensor], Tensor]:
    patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles)
    losses = learner.losses(batch)
    weights = [weight for group in learner.optimizers()[0].param_groups for weight in group["params"]]
    gradients = torch.autograd.grad(sum(losses.values(), torch.tensor(0.0)), weights, allow_unused=True)
    return losses, torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def _assert_alike(learner: Learner, batch: object, patch: pytest.MonkeyPatch) -> None:
    exact, exact_gradient = _losses_and_gradients(learner, batch, False, patch)
    fast, fast_gradient = _losses_and_gradients(learner, batch, True, patch)
    for kind, loss in exact.items():
        assert fast[kind].dtype == torch.float32
        assert not torch.equal(fast[kind], loss)
        torch.testing.assert_close(fast[kind], loss, rtol=0.02, atol=0.0)
    assert torch.cosine_similarity(exact_gradient, fast_gradient, dim=0) > 0.99


@pytest.mark.parametrize("variant", ["e2b", "26b-a4b", "31b"])
def test_decoder(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    lessons = Lessons(curriculum.text_lessons(variant), curriculum.picture_lessons(), [])
    batch = BatchStream(3, 2, [Stage(1, pictures=1, sounds=0)], lessons)[0]
    _assert_alike(Decoder(POCKET_VARIANTS[variant], is_compiled=False), batch, monkeypatch)


def test_ears(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sound = Sound(torch.linspace(-4, 4, 160 * 128).reshape(160, 128), 40, [5, 6])
    _assert_alike(Ears(POCKET_VARIANTS["e2b"], is_compiled=False), [sound], monkeypatch)
