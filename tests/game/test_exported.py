"""The files of an exported game: weights of any layout come back; no card without a checksum does."""

import json

import pytest
import torch

from lightning_gans.game.exported import exported, read_exported


def test_weights_that_share_memory_or_lie_in_another_order(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    weights = {"one": weight, "tied": weight, "turned": weight.T, "half": weight.bfloat16()}
    for name, content in exported({"_class_path": "x"}, weights, 3, {}).items():
        (tmp_path / name).write_bytes(content)
    found = read_exported(tmp_path / "config.json")
    assert found["global_step"] == 3
    assert {name: value.dtype for name, value in found["state_dict"].items()} == {
        name: value.dtype for name, value in weights.items()
    }
    assert all(torch.equal(found["state_dict"][name], value) for name, value in weights.items())

    card = json.loads((tmp_path / "config.json").read_text())
    del card["sha256"]
    (tmp_path / "config.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="do not have the checksum"):
        read_exported(tmp_path / "config.json")
