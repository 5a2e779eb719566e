"""Calibrators: marginals that can be believed, fitted on validation data.

| class | fits |
|---|---|
| Temperature | outputs with marginals: one T for all logits |
| Platt | every output: one sigmoid per label |
| NoCalibration | every output, unchanged |
"""
