"""The runtime's weight layout changes strides, never values."""

import pytest
import torch

from model.full_attention import FullAttention
from model.runtime.weight_layout import store_input_major
from model.weights import load_model
from tests.model.conftest import MakeCheckpoint


@pytest.mark.parametrize("variant", ["e2b", "26b-a4b"])
def test_logits_are_those_of_the_plain_layout(make_checkpoint: MakeCheckpoint, variant: str) -> None:
    path = make_checkpoint(variant, 0)
    plain, fast = load_model(path), load_model(path)
    store_input_major(fast)
    tokens, positions = torch.arange(3, 20), torch.arange(17)
    expected = plain(tokens, positions, FullAttention([17]))
    actual = fast(tokens, positions, FullAttention([17]))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_values_shapes_and_names_stay_and_a_second_time_changes_nothing(make_checkpoint: MakeCheckpoint) -> None:
    path = make_checkpoint("e2b", 0)
    plain, fast = load_model(path), load_model(path)
    store_input_major(fast)
    once = {name: weight.data_ptr() for name, weight in fast.named_parameters()}
    store_input_major(fast)
    assert once == {name: weight.data_ptr() for name, weight in fast.named_parameters()}
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, fast.get_parameter(name)), name
