"""The local job history: what was submitted from this machine, in a file that outlives the clusters; and what a keeper
keeps of a whole cluster, in the same schema.

records (what is stored), schema (tables and their migrations), rows (from tables to records), store (reading and
writing), recorder (what a session writes), git (the commit of a working directory).

A keeper's folder: keeping (writing jobs, events, limits), log_writer and log_file (logs), kept (reading all of it). Not
here: anything that asks a server.
"""
