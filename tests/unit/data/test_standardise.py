import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from mlc.data.standardise import fit_standardisation, standardise


def test_table_agrees_with_scikit_learn() -> None:
    train, new = torch.from_numpy(np.random.default_rng(0).normal(3, 5, size=(2, 40, 4)))
    mean, scale = fit_standardisation(train)
    scaler = StandardScaler().fit(train.numpy())
    np.testing.assert_allclose(
        standardise(new, mean=mean, scale=scale), scaler.transform(new.numpy()), rtol=1e-12
    )


def test_pictures_are_standardised_per_channel() -> None:
    x = torch.randn(50, 2, 6, 7, generator=torch.Generator().manual_seed(0)) * 3 + 5
    mean, scale = fit_standardisation(x)
    z = standardise(x, mean=mean, scale=scale)
    assert mean.shape == scale.shape == (2,)
    for channel in range(2):
        assert z[:, channel].mean().item() == pytest.approx(0, abs=1e-5)
        assert z[:, channel].std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_constant_column_gives_zero_also_where_it_varies_later() -> None:
    train = torch.full((7, 1), 0.1, dtype=torch.float64)
    mean, scale = fit_standardisation(train)
    new = torch.tensor([[0.1], [5.0]], dtype=torch.float64)
    assert standardise(new, mean=mean, scale=scale).tolist() == [[0], [0]]


def test_the_given_rows_are_not_changed() -> None:
    x = torch.tensor([[1.0], [3.0]])
    standardise(x, mean=torch.tensor([1.0]), scale=torch.tensor([2.0]))
    assert x.tolist() == [[1], [3]]
