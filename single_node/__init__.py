"""A single-node Kubernetes on this Linux machine, without Docker, and what a Ray stack needs beside it.

Programs are built from Go modules and images from Debian's packages, once, into a cache outside the checkout. Imports
nothing of jobs, components, ops and tests.
"""
