"""Speed and memory, never run as tests: `make bench`."""
