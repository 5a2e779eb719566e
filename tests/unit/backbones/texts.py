"""What the tests of backbones for texts share."""

import torch

from mlc.inputs import InputSpec

INPUTS = {"x": InputSpec("tokens", (8,), vocabulary=12)}
TEXTS = torch.tensor([[3, 7, 7, 2, 11], [5, 1, 4, 0, 0], [9, 0, 0, 0, 0]])  # 0 is padding
LENGTHS = [5, 3, 1]
