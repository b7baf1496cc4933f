"""`spine-landmarks bench`: the published pipelines and this one side by side, on the same slices in one run."""
