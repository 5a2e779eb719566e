"""Metrics of decisions, scores and probabilities; they never see logits as such, nor a model.

| file | idea |
|---|---|
| decisions | F1, precision, recall, Hamming and the other metrics of decided sets |
| ranks | where each true label stands when its row is sorted by score |
| ranking | metrics of the order of the labels of one row, from those ranks |
| average_precision | metrics of the order of the rows for one label, from the same ranks; exact |
| score_histogram | the same within a stated bound, in memory that does not grow with the rows |
| calibration | metrics of probabilities |
| levels | metrics of labels that have levels |
| weights | how much rows and entries count: weights of rows, unknown targets |
| blocks | how much is worked on at a time, in threads |
| accumulators | sums of the above: batches and processes merge |
| merging | what processes exchange |
| suite | all of them at once, under flat names |
"""
