"""Everything that is checked before anything is registered. Functions return or raise problems; no Pulumi in here."""
