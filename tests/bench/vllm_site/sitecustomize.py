"""Lets torchvision be imported where its own operators do not fit the installed torch; vLLM imports it, and calls none.

The benchmark puts this folder on the path of vLLM's process only where `import torchvision` fails.
"""

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
