"""Write torchvision's weights of a network into a file that `mtl_core.backbones` takes as `weights=`.

    python shared/convert_weights.py resnet34 resnet34.safetensors

Downloads them, so it needs the internet once; the file then goes where there is none. The classifier is left out, and the
parts of a transformer get the names and shapes that ours have.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

OURS = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2",
    "vgg16": "vgg16(norm=None)",
    "vgg16_bn": "vgg16",
    "vit_b_16": "vit_b16",
}
"""Torchvision's name, and the backbone that the file is for."""

CLASSIFIERS = ("fc.", "classifier.", "heads.")

BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "self_attention.out_proj": "attention.out",
    "mlp.0": "linear1",
    "mlp.3": "linear2",
}


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a torchvision network under the names of ours."""
    found = {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIERS)}
    return _transformer(found) if "encoder.pos_embedding" in found else found


def _transformer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    positions = state["encoder.pos_embedding"]
    side = round((positions.shape[1] - 1) ** 0.5)
    found = {
        "position": positions[:, 1:].transpose(1, 2).unflatten(2, (side, side)),
        "class_token": state["class_token"] + positions[:, :1],  # the place of the class token is part of ours
        "embedding.weight": state["conv_proj.weight"],
        "embedding.bias": state["conv_proj.bias"],
        "norm.weight": state["encoder.ln.weight"],
        "norm.bias": state["encoder.ln.bias"],
    }
    for name, tensor in state.items():
        if not name.startswith("encoder.layers."):
            continue
        number, _, rest = name.removeprefix("encoder.layers.encoder_layer_").partition(".")
        part, _, kind = rest.rpartition(".")
        if rest.startswith("self_attention.in_proj_"):
            for own, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                found[f"blocks.{number}.attention.{own}.{rest.removeprefix('self_attention.in_proj_')}"] = piece
        else:
            found[f"blocks.{number}.{BLOCK[part]}.{kind}"] = tensor
    return found


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("network", choices=sorted(OURS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--random", action="store_true", help="random weights: a trial without the internet")
    asked = parser.parse_args()
    from torchvision.models import get_model

    state = get_model(asked.network, weights=None if asked.random else "DEFAULT").state_dict()
    with torch.no_grad():
        tensors = {name: tensor.contiguous().clone() for name, tensor in converted(state).items()}
    save_file(tensors, asked.file)
    print(f"{asked.file}: weights for `mtl_core.backbones.{OURS[asked.network]}`")


if __name__ == "__main__":
    main()
