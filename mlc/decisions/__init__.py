"""Decision rules: from an output to a set of labels.

| class | decides | fits |
|---|---|---|
| FixedThreshold | marginals above a given number | outputs with marginals |
| CostWeighted | marginals above what the costs of mistakes ask for | outputs with marginals |
| PlugInThreshold | marginals above half the F1 that they promise | outputs with marginals |
| GlobalThreshold | scores above the best number for micro-F1 | every output |
| PerLabelThreshold | scores above each label's best number for its F1 | every output |
| SCutFBR | the same, cautious where that F1 is low | every output |
| ThresholdByFrequency | scores above each label's number for micro-F1 and macro-F1 together | every output |
| ConformalThreshold | scores above the number that bounds the missed labels | every output |
| TopK | the k highest scores | every output |
| ByCount | as many as the model counts | models with a count |
| MostProbableSet | the mode | models that define label sets |
| GreedySet | label by label, given those decided before | chains of labels |
| ExpectedF1 | the set of the highest expected F1 | models of labels and count together |

Fitted rules leave unknown targets out, and count a row of weight k as k rows.
"""
