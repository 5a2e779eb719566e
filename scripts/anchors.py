"""What untuned scikit-learn models reach: `python scripts/anchors.py [data set ...]`.

One-vs-rest logistic regression, a random forest and one-vs-rest support vector machines, fitted on all
training rows of the published split (validation rows included), decided at 0.5, measured on its test rows.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    hamming_loss,
    label_ranking_average_precision_score,
    label_ranking_loss,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from mlc.data.dataset import DatasetSource
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped

Array = NDArray[np.float64]
_LINEAR = {"logistic regression": OneVsRestClassifier(LogisticRegression(max_iter=1000))}
_FOREST = {"random forest": RandomForestClassifier(n_estimators=300, random_state=0, n_jobs=2)}
_SVC = {"SVC (rbf)": OneVsRestClassifier(SVC(probability=True, random_state=0))}
MODELS: dict[str, dict[str, Any]] = {
    "yeast": _LINEAR | _FOREST | _SVC,
    "emotions": _FOREST | _SVC,
    "enron": _LINEAR | _FOREST,
    "tmc2007": _LINEAR,
    "delicious": _LINEAR,
}


def probabilities(model: Any, x_ND: Array) -> Array:
    """N×L probabilities."""
    found = model.predict_proba(x_ND)
    if isinstance(
        found, list
    ):  # a forest: one N×2 array per label, N×1 where the label is constant in training
        found = np.stack([p[:, 1] if p.shape[1] == 2 else 0 * p[:, 0] for p in found], axis=1)
    return np.asarray(found)


def main() -> None:
    """Fit and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="*", default=list(MODELS))
    print("| data | model | Hamming loss | subset accuracy | micro-F1 | macro-F1 | ranking loss | LRAP |")
    print("|---|---|---|---|---|---|---|---|")
    for name in parser.parse_args().datasets:
        data = make(load_shipped("dataset", name), group="dataset", kind=DatasetSource)().load(seed=0)
        x_ND = np.concatenate([split.inputs["x"].numpy() for split in (data.train, data.valid)])
        y_NL = np.concatenate([split.y_NL.numpy() for split in (data.train, data.valid)]).astype(int)
        test_ND, true_NL = data.test.inputs["x"].numpy(), data.test.y_NL.numpy().astype(int)
        for title, model in MODELS[name].items():
            model.fit(x_ND, y_NL)
            p_NL = probabilities(model, test_ND)
            decided_NL = p_NL > 0.5
            values = (
                hamming_loss(true_NL, decided_NL),
                accuracy_score(true_NL, decided_NL),
                f1_score(true_NL, decided_NL, average="micro", zero_division=0),
                f1_score(true_NL, decided_NL, average="macro", zero_division=0),
                label_ranking_loss(true_NL, p_NL),
                label_ranking_average_precision_score(true_NL, p_NL),
            )
            print(
                f"| {name} | {title} | " + " | ".join(f"{value:.4f}" for value in values) + " |", flush=True
            )


if __name__ == "__main__":
    main()
