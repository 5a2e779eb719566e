"""Calibrators: marginals that can be believed, fitted on validation data.

| class | fits | a label with few positives |
|---|---|---|
| Temperature | distributions made of logits: one T for all | shares T |
| VectorScaling | independent labels: a slope and a bias per label around the shared T | stays near T |
| Platt | every output: one sigmoid per label | shares its slope with the others, by a learned prior |
| Beta | scores in (0, 1): a curve of three numbers per label | takes Platt's sigmoid |
| Isotonic | every output: a rising staircase per label | takes Platt's sigmoid |
| Histogram | every output: equal-mass bins per label | takes Platt's sigmoid |
| NoCalibration | every output, unchanged | |
"""
