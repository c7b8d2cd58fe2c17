"""Many pictures: one Job for each, any number of processes and machines on one output folder, begun again at any time.

What has become of a picture stands in files (records.py), and who is at work on it (lease.py); everything else only decides who
takes which picture next. So a run can be stopped, killed and started again, by this process or another one.
"""
