"""Calibrators: marginals that can be believed, fitted on validation data.

| class | fits | a label with few positives |
|---|---|---|
| Temperature | outputs with marginals: one T for all logits | shares T |
| VectorScaling | independent labels: a slope and a bias per label around the shared T | stays near T |
| Platt | every output: one sigmoid per label | smoothed targets; at least MIN_SLOPE |
| Beta | scores in (0, 1): a curve of three numbers per label | takes Platt's sigmoid |
| Isotonic | every output: a rising staircase per label | takes Platt's sigmoid |
| Histogram | every output: equal-mass bins per label | takes Platt's sigmoid |
| NoCalibration | every output, unchanged | |
"""
