"""Jobs: a task, its options, an input and outputs as plain data, and what runs them.

The command line, a folder, a worker and a web page run the same jobs.
"""
