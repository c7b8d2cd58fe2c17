"""The studio: a local web page for the tasks, drawn from their TaskSpecs; its jobs are files, each run by a process of its own.

The server imports no torch: what reads pictures or fits is done by processes that it starts (probe.py, worker.py,
folder_worker.py).
"""
