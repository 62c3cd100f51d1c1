"""Programs that are built from Go modules: Kubernetes, Pulumi's engine and provider, KubeRay's operator."""
