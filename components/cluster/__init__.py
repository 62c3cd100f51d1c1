"""A Kubernetes cluster without Pulumi's provider: API, context, identity, CRDs, operators. No Pulumi in here."""
