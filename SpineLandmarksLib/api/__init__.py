"""Landmarks over HTTP: a study in, a job, and the result in every format."""
