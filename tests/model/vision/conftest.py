"""The random multimodal checkpoints, for the tests of model/vision."""

from tests.model.media_checkpoint import make_media_checkpoint

__all__ = ["make_media_checkpoint"]
