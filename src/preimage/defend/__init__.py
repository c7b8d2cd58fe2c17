"""Whether an answer can be trusted: where a classifier looks, and whether that is what its answer hangs on."""
