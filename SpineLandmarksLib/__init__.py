"""SpineLandmarks: eleven named points on a lumbar spine MRI, with an honest statement of how sure each is."""

__version__ = "0.1.0"
