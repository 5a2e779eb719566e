import pytest

from mlc.errors import UserError
from mlc.experiment.look import load_dataset

SMALL = ["dataset.n_train=60", "dataset.n_test=10"]


def test_the_data_of_a_config_are_those_that_training_sees() -> None:
    dataset = load_dataset([*SMALL, "dataset.valid_fraction=0.5"])
    assert dataset.name == "digits"
    assert [len(dataset.train), len(dataset.valid), len(dataset.test)] == [30, 30, 10]
    assert not load_dataset([*SMALL, "seed=1"]).test.y_NL.equal(dataset.test.y_NL)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset=yeats", "dataset=yeats does not exist; choose one of"),
        ("dataset.n_trian=3", "is no key of this config"),
        ("dataset.n_train=-3", "dataset.n_train"),
        ("nonsense", "nonsense"),
        ("head=softmax loss=focal", "what fits is loss=categorical_cross_entropy"),
    ],
)
def test_mistakes_are_told_in_a_sentence(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_dataset(override.split())
