"""A Run made of Runs, fitted in turn: the frames of a sequence, the tiles of a large image."""
