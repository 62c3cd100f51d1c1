"""The walkthrough's job: a task on the cluster, its answer, and what the cluster has."""

import ray


@ray.remote
def hello_world() -> str:
    return "hello world"


ray.init()
print(ray.get(hello_world.remote()))
print(ray.cluster_resources())
