"""The restoration wing: one task per file, each a plain function that states the Problem, the Prior and the StoppingRule."""
