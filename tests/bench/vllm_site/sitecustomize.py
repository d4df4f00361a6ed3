"""Lets torchvision be imported where its own operators do not fit the installed torch; vLLM imports it, and calls none.

This folder is put on the path of vLLM's processes only where `import torchvision` fails.
"""

import sys
from importlib.machinery import PathFinder


class _Torchvision:
    """Finds torchvision where it is, and defines what it looks up right before it runs: torch is imported by then."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name) if name == "torchvision" else None
        if spec is None:
            return None
        run = spec.loader.exec_module

        def define_and_run(module):
            _define()
            run(module)

        spec.loader.exec_module = define_and_run
        return spec


def _define():
    import torch

    _Torchvision.library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _Torchvision.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _Torchvision)
