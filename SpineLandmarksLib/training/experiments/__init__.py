"""Tables of whole experiments: many trainings on the same folds, side by side, written into a document."""
