"""Small random models of transformers, as folders."""

import json
from pathlib import Path
from typing import Any

import torch

BERT = {
    "model_type": "bert",
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 10,
}
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "image_size": 8,
    "patch_size": 4,
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 4,
    "hidden_sizes": [4, 8],
    "depths": [1, 1],
    "layer_type": "basic",
}


def saved(tree: dict[str, Any], folder: Path, *, seed: int = 5) -> Any:
    """A random model of this config, saved to a folder as people publish them."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(seed)
    options = dict(tree)
    model = AutoModel.from_config(AutoConfig.for_model(options.pop("model_type"), **options))
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == tree["model_type"]
    return model.eval()
