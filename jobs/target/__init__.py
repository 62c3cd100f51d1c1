"""Chooses one target for jobs, from options, environment, a Pulumi project or an outputs file.

options (what a person may say), resolve (the target), pulumi_project (the project around the working directory and its
outputs), contract (the outputs file), token, known (names for completion and suggestions). Not here: connections;
`jobs.connection` opens a target.
"""
