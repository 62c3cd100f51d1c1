"""A working directory becomes a package: plan (its files and its name), pack (its bytes), index, ignore rules.

Not here: sending it, which is `jobs.packages`.
"""
