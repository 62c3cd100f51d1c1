"""What people and CI do around the engine. Makefile targets call `python -m ops ...`."""
