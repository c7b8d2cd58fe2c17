"""The explanation wing: what a classifier sees in one picture, and how good such an explanation is."""
