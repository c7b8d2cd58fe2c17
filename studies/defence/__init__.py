"""What the studies of the defense need beside the library: rival defenses, several ends of one fit, robust features."""
