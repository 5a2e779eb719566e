"""Output models: each states which distribution over label sets a head's raw tensors describe.

| class | raw tensors | reads as |
|---|---|---|
| IndependentLabels | logits_BL | one Bernoulli per label |
| SingleChoice | logits_BL | softmax, exactly one label |
| LabelShares | logits_BL | softmax as shares of the labels; ranks, no marginals |
| FactorisedCount | share_logits_BL, a count model | expected labels = count x shares |
| ConditionalBernoulli | weight_logits_BL, a count model | exact: a count, and which set of that size |
| LabelLevels | logits_BLK | one softmax over levels per label |
| LabelSets | logits_BM, the known sets | softmax over the label sets seen in training |
| LabelChain | logits_BL, links_LL | each label given the labels before it; ranks along one path |
| ScoresOnly | score_logits_BL | ranks, and nothing else |
| CalibratedLabels | logits_BL, the model underneath | marginals fitted on validation data |
"""
