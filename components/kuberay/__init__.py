"""KubeRay's own files: fetched, checked by digest, read, and arranged for kustomize. No Pulumi, no cluster in here."""
