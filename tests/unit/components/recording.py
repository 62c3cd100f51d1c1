"""Pulumi's mocks with a memory: what was registered, with its options, which mocks alone do not see."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import mocks, rpc, set_all_config, settings

ROOT = Path(__file__).resolve().parents[3]
PROJECT = "ray-on-kubernetes"


@dataclass
class Registered:
    """One RegisterResource request, in plain words."""

    urn: str
    type: str
    name: str
    custom: bool
    remote: bool
    inputs: dict[str, Any]
    parent: str
    provider: str
    dependencies: list[str]
    protect: bool
    retain: bool
    ignored: list[str]
    timeouts: dict[str, str]
    aliases: list[str]


class _Mocks(mocks.Mocks):
    def __init__(self) -> None:
        self.transforms: list[Any] = []

    def register_transform(self, transform: Any) -> None:
        self.transforms.append(transform)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        return {}


class RecordingMonitor(mocks.MockMonitor):
    """Keeps every registration in order."""

    def __init__(self) -> None:
        super().__init__(_Mocks())
        self.registered: list[Registered] = []

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)
        timeouts = request.customTimeouts
        self.registered.append(
            Registered(
                urn=response.urn,
                type=request.type,
                name=request.name,
                custom=request.custom,
                remote=request.remote,
                inputs=rpc.deserialize_properties(request.object),
                parent=request.parent,
                provider=request.provider or next(iter(request.providers.values()), ""),
                dependencies=list(request.dependencies),
                protect=request.protect,
                retain=request.retainOnDelete,
                ignored=list(request.ignoreChanges),
                timeouts={
                    key: getattr(timeouts, key) for key in ("create", "update", "delete") if getattr(timeouts, key)
                },
                aliases=[*request.aliasURNs, *(alias.urn for alias in request.aliases), *self._transformed(request)],
            )
        )
        return response

    def _transformed(self, request: Any) -> list[Any]:
        """Aliases that the program's transforms give: mocks themselves run none."""
        opts = pulumi.ResourceOptions()
        args = pulumi.ResourceTransformArgs(request.custom, request.type, request.name, {}, opts)
        results = [transform(args) for transform in self.mocks.transforms]
        return [alias for result in results if result for alias in result.opts.aliases or []]


@dataclass
class Graph:
    """What a program registered."""

    registered: list[Registered]
    outputs: dict[str, Any] = field(default_factory=dict)

    def one(self, type_: str, name: str | None = None) -> Registered:
        found = [r for r in self.registered if r.type == type_ and name in (None, r.name)]
        assert len(found) == 1, f"{type_} {name}: {[(r.type, r.name) for r in self.registered]}"
        return found[0]

    def of_type(self, type_: str) -> list[Registered]:
        return [r for r in self.registered if r.type == type_]

    def waits_for(self, one: Registered, other: Registered) -> bool:
        """Whether `one` is made after `other`, directly or through what lies between or around them."""
        by_urn = {r.urn: r for r in self.registered}
        # A component is made when its children are, and a child belongs to what its component depends on.
        seen, todo = set(), list(one.dependencies)
        while todo:
            urn = todo.pop()
            if urn == other.urn:
                return True
            if urn in seen or urn not in by_urn:
                continue
            seen.add(urn)
            todo += by_urn[urn].dependencies
            todo += [r.urn for r in self.registered if r.parent == urn]
        return False


def run_program(
    config: dict[str, Any], stack: str = "test", preview: bool = False, secure: Sequence[str] = ()
) -> Graph:
    """Runs `__main__.py` under mocks with `config` as its stack file; raises what the program raises.

    `secure`: keys with a secure value somewhere in them.
    """
    values = {
        key if ":" in key else f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    monitor = RecordingMonitor()

    async def program() -> dict[str, Any]:
        settings.set_root_resource(None)  # of an earlier run
        mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=preview, monitor=monitor)
        set_all_config(values, [f"{PROJECT}:{key}" for key in secure])
        await pulumi.runtime.stack.run_pulumi_func(lambda: runpy.run_path(str(ROOT / "__main__.py")) and None)
        root = settings.get_root_resource()
        return dict(root.outputs) if root else {}

    outputs = asyncio.new_event_loop().run_until_complete(program())
    return Graph(monitor.registered, outputs)
