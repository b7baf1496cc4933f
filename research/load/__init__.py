"""Load on the HTTP interface."""
