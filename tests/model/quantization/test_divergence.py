"""What quantisation costs, measured: the measure is right, and more bits cost less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model.quantization.divergence import divergence, log_probabilities
from model.quantization.report import main
from model.quantization.scheme import Quantization
from model.tiny import ensure_tiny
from tests.model.conftest import MakeCheckpoint


@pytest.mark.parametrize("seed", range(3))
def test_divergence_is_torchs_own(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(2, 7, 50, generator=generator).log_softmax(-1)
    expected = F.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    found = divergence(p, q)
    assert found.mean == pytest.approx(expected.mean().item(), rel=1e-4)
    assert found.largest == pytest.approx(expected.max().item(), rel=1e-4)
    assert divergence(p, p).mean == pytest.approx(0, abs=1e-6)
    assert divergence(p, p).agreement == 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("variant", ["e2b", "31b"])
def test_int8_costs_less_than_int4_and_that_little(make_checkpoint: MakeCheckpoint, variant: str, seed: int) -> None:
    path = make_checkpoint(variant, seed, "medium", vocab_size=320, vocab_size_per_layer_input=320)
    tokens = torch.randint(5, 280, (200,), generator=torch.Generator().manual_seed(seed))
    whole = log_probabilities(path, tokens)
    int8, int4 = (
        divergence(whole, log_probabilities(path, tokens, scheme)) for scheme in (Quantization(8), Quantization(4, 32))
    )
    assert 0 < int8.mean < int4.mean < 1
    assert int8.mean < 0.1
    assert int8.agreement > max(0.95, int4.agreement - 0.01)


def test_the_report_has_a_line_for_every_scheme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("Ada builds the bright bridge in the city.", encoding="utf-8")
    main([str(ensure_tiny("31b")), str(tmp_path / "text")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["bfloat16", "int8"]
    assert sum(line.startswith("int4, groups of") for line in lines) == 4
