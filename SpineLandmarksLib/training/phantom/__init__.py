"""Generated lumbar MRI with exact truth: the demo's input, the tests' input, training data. numpy only."""
