"""The Kubernetes API for `rayjobs` and the Pulumi program: kubeconfig, requests, tunnel, pod problems, quantities."""
