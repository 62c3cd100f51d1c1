"""A small Python language host for Pulumi's engine, for machines where the official one cannot be had.

`host.py` is copied into the built engine's folder and stands alone: it needs Python and the `pulumi` package only.
"""
