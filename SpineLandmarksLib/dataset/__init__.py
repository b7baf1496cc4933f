"""Growing a data set: adding studies, looking for mistakes, locking a hold-out, comparing annotators."""
