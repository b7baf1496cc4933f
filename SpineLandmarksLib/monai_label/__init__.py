"""An app of MONAI Label, which runs in an environment of its own and imports nothing of this library."""
