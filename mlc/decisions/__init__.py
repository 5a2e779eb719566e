"""Decision rules: from an output to a set of labels.

| class | decides | fits |
|---|---|---|
| FixedThreshold | marginals above a given number | outputs with marginals |
| GlobalThreshold | scores above the best number for micro-F1 | every output |
| PerLabelThreshold | scores above each label's best number for its F1 | every output |
| TopK | the k highest scores | every output |
| ByCount | as many as the model expects | models with an expected count |
| MostProbableSet | the mode | models that define label sets |
"""
