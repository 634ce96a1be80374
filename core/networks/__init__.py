"""What the weights are: one file per published architecture, no file access."""
