"""Ready-made pipelines: run them, read them, copy them."""
