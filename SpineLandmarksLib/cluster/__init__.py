"""Many studies over a Ray cluster (extra `cluster`): the engine, the crew that it hires, and one actor of it."""
