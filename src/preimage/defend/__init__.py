"""Whether an answer can be trusted: pictures made to mislead a classifier (attacks, cleaning, detection), and where it looks."""
