"""The web page at `/`, and the samples that its charts are drawn from."""
