"""The Kubernetes API, for the commands and for the Pulumi program: the one place that knows kr8s.

api (reads, Secrets, commands in containers), kubeconfig, tunnel (a local port that leads to a pod), quantities,
pod_problems. Not here: Ray, and the manifests of the stack.
"""
