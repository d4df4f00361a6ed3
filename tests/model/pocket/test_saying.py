"""What pictures say is judged as torch's own divergence judges it; what is learned from is what is served."""

import random

import torch
import torch.nn.functional as F

from model.pocket.scenes.drawing import draw
from model.pocket.scenes.placing import crowd, placed
from model.pocket.training.batch import picture_groups
from model.pocket.training.labels import NOTHING
from model.pocket.training.prepared import RULES, picture
from model.pocket.training.saying import picture_loss
from model.preprocess.images import resized_patches


def test_a_loss_is_the_divergence_of_every_soft_token_by_its_weight() -> None:
    torch.manual_seed(0)
    cells = [{5: 0.25, 9: 0.75}, {}, {3: 1.0}]
    said_NV = torch.randn(len(cells), 12, requires_grad=True)
    share_NV = torch.zeros(len(cells), 12)
    share_NV[0, 5], share_NV[0, 9], share_NV[1, NOTHING], share_NV[2, 3] = 0.25, 0.75, 1.0, 1.0
    loss_N = F.kl_div(said_NV.log_softmax(-1), share_NV, reduction="none").sum(-1)
    expected = (loss_N * torch.tensor([1.0, 0.1, 1.0])).sum() / 2.1
    found = picture_loss(said_NV, cells)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, said_NV)[0] for loss in (found, expected)))


def test_a_tower_learns_from_the_values_that_it_is_served() -> None:
    rng = random.Random(0)
    scene = placed(rng, "train", crowd(rng))
    image = draw(scene)
    values_GPC, positions_GP2 = next(picture_groups([picture(image, scene)]))
    served = resized_patches(image, RULES)
    torch.testing.assert_close(values_GPC[0, : served.values_BPC.shape[1]], served.values_BPC[0], rtol=1e-6, atol=0.0)
    assert torch.equal(positions_GP2[0, : len(served.positions_P2)], served.positions_P2)
