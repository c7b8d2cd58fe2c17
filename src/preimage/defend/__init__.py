"""Pictures that were changed to mislead a classifier: how they are made, cleaned, found, and how far the cleaning holds."""
