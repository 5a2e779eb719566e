from pathlib import Path

import pytest

from mlc.backbones.flatten import Flatten
from mlc.errors import UserError
from mlc.experiment.stored import no_larger_than
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec, Kind
from mlc.model import Network
from tests.unit.label_statistics import labels_with


def network(kind: Kind, n_labels: int) -> Network:
    labels = labels_with([1.0] * n_labels, rows=9)
    head = SigmoidHead(in_features=4, labels=labels, prior_bias=False)
    return Network(backbone=Flatten(inputs={"x": InputSpec(kind, (4,))}), head=head)


@pytest.mark.parametrize("kind", ["numbers", "sparse"])
def test_a_network_may_have_as_many_numbers_as_the_file(kind: Kind) -> None:
    """Also where a layer is replaced by one that reads sparse rows."""
    parts, path = {"network": network(kind, 3).state_dict()}, Path("classifier.safetensors")
    with no_larger_than(parts, path):
        network(kind, 3)
    with pytest.raises(UserError, match="asks for a larger network"), no_larger_than(parts, path):
        network(kind, 4)
