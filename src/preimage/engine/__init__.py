"""The engine: theta* = argmin E(Phi(g_theta(z)), y) + sum lambda_i R_i(g_theta(z)), and nothing that knows of any task.

`fit` is the loop; `recipe` says how, `step` and `result` are what comes out; `checkpoint` saves a run.
"""
