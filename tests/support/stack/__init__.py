"""The servers of the pipeline, as real programs that tests run."""
