import pytest

from mlc.backbones.base import Backbone


def test_a_backbone_without_forward_cannot_be_built() -> None:
    class Unfinished(Backbone):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished()  # type: ignore[abstract]
