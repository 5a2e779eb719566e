import pytest

from mlc.heads.base import Head


def test_a_head_without_forward_cannot_be_built() -> None:
    class Unfinished(Head):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished()  # type: ignore[abstract]
