"""Tasks around the Pulumi program. A target of the Makefile is the file of its name: `make diff` is diff.py."""
