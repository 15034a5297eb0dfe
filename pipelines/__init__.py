"""Ready-made pipelines to run, read and copy."""
