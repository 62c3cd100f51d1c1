"""The local job history: what was submitted from this machine, in a file that outlives the clusters.

records (what is stored), schema (tables and their migrations), store (reading and writing), recorder (what a session
writes), git (the commit of a working directory). Not here: anything that asks a server.
"""
