"""The native cluster's files: certificates, kubeconfigs, and the programs' settings. No process is started but openssl.

The cluster lives in a network namespace of its own, joined to the machine by one veth pair, so its ports, bridge and
iptables rules are separate from all others and end with it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from .errors import SingleNodeError
from .images import COREDNS_IMAGE, PAUSE_IMAGE
from .programs.kubernetes import bin_dir

NODE_NAME = "native"
CONTEXT = "native"
NAMESPACE = "ray-native"  # the network namespace's name and the containers' root cgroup's
HOST_LINK = "raynative0"
HOST_ADDRESS = "10.246.0.1"
NODE_ADDRESS = "10.246.0.2"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
API_SERVER = f"https://{NODE_ADDRESS}:6443"
CNI_NETWORK = "ray-native"
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))

# Certificate name -> subject. Kubernetes takes the user's name from CN and the groups from O.
CLIENTS = {
    "admin": "/O=system:masters/CN=native-admin",
    "kubelet": f"/O=system:nodes/CN=system:node:{NODE_NAME}",
    "kubelet-client": "/O=system:masters/CN=kube-apiserver-kubelet-client",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
}


def write_certificates(folder: Path) -> None:
    """A certificate authority, the API server's certificate, one for each client, and the key of service accounts."""
    folder.mkdir(parents=True, mode=0o700)
    _key(folder, "ca")
    _openssl(folder, "req -x509 -new -key ca.key -days 30 -out ca.crt -subj /CN=ray-native-ca")
    names = "kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local localhost"
    alternatives = [f"DNS:{name}" for name in names.split()]
    alternatives += [f"IP:{address}" for address in (NODE_ADDRESS, API_SERVICE, "127.0.0.1")]
    _certificate(folder, "apiserver", "/CN=kube-apiserver", f"serverAuth\nsubjectAltName={','.join(alternatives)}")
    for name, subject in CLIENTS.items():
        _certificate(folder, name, subject, "clientAuth")
    _key(folder, "service-account")


def _certificate(folder: Path, name: str, subject: str, usage: str) -> None:
    _key(folder, name)
    (folder / f"{name}.ext").write_text(f"extendedKeyUsage={usage}\n")
    _openssl(folder, f"req -new -key {name}.key -out {name}.csr -subj {subject}")
    signing = "x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30"
    _openssl(folder, f"{signing} -in {name}.csr -extfile {name}.ext -out {name}.crt")


def _key(folder: Path, name: str) -> None:
    _openssl(folder, f"ecparam -name prime256v1 -genkey -noout -out {name}.key")


def _openssl(folder: Path, arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments.split()], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SingleNodeError(f"`openssl {arguments.split()[0]}` failed: {done.stderr.strip()}")


def write_kubeconfig(target: Path, pki: Path, client: str) -> None:
    """A kubeconfig that carries its certificates in itself, readable by its owner only."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": API_SERVER, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{client}.crt"), "client-key-data": data(f"{client}.key")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": client}}],
    }
    target.touch(mode=0o600)
    target.write_text(json.dumps(content, indent=2))


def write_containerd(state: Path, root: Path) -> Path:
    """containerd's settings: contents under `root` (kept between runs), everything else under `state`."""
    cni = state / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    subnet = {"subnet": POD_RANGE}
    network = {
        "cniVersion": "0.4.0",
        "name": CNI_NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "dataDir": str(state / "cni-addresses"), "ranges": [[subnet]]},
            }
        ],
    }
    (cni / "10-native.conflist").write_text(json.dumps(network, indent=2))
    target = state / "config" / "containerd.toml"
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc fails on a negative score, in words that do not say so.
    target.write_text(f"""\
version = 2
root = "{root}"
state = "{state}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{containerd_socket(state)}"
[plugins."io.containerd.internal.v1.opt"]
path = "{state}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{state}/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_folder()}"
conf_dir = "{cni}"
""")
    return target


def containerd_socket(state: Path) -> Path:
    return state / "containerd.sock"


def cni_folder() -> Path | None:
    """The folder of the CNI plugins, where there is one."""
    return next((folder for folder in CNI_FOLDERS if (folder / "bridge").exists()), None)


def write_kubelet(state: Path) -> Path:
    """The kubelet's settings. Nothing is evicted and no image collected: a full disk shall show as itself."""
    resolv = state / "config" / "resolv.conf"
    resolv.write_text(f"nameserver {DNS_SERVICE}\n")
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(state / "pki" / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{NAMESPACE}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{containerd_socket(state)}",
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "0%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": str(state / "pod-logs"),
        "resolvConf": str(resolv),
        "serializeImagePulls": False,
        "volumePluginDir": str(state / "kubelet-plugins"),
    }
    target = state / "config" / "kubelet.json"
    target.write_text(json.dumps(settings, indent=2))
    return target


def commands(state: Path) -> dict[str, list[str]]:
    """Process name -> command line, for all processes of the cluster."""
    programs, pki, config = bin_dir(), state / "pki", state / "config"
    return {
        "etcd": [
            "etcd",
            f"--data-dir={state}/etcd",
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
        ],
        "containerd": ["containerd", f"--config={config}/containerd.toml"],
        "kube-apiserver": [
            f"{programs}/kube-apiserver",
            f"--advertise-address={NODE_ADDRESS}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            f"--cert-dir={state}/apiserver",
            f"--client-ca-file={pki}/ca.crt",
            "--enable-admission-plugins=NodeRestriction",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-account.key",
            f"--service-account-signing-key-file={pki}/service-account.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
        ],
        "kube-controller-manager": [
            f"{programs}/kube-controller-manager",
            "--bind-address=127.0.0.1",
            f"--cert-dir={state}/controller-manager",
            f"--kubeconfig={config}/controller-manager.kubeconfig",
            "--leader-elect=false",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/service-account.key",
            "--use-service-account-credentials=true",
        ],
        "kube-scheduler": [
            f"{programs}/kube-scheduler",
            "--bind-address=127.0.0.1",
            f"--cert-dir={state}/scheduler",
            f"--kubeconfig={config}/scheduler.kubeconfig",
            "--leader-elect=false",
        ],
        "kubelet": [
            f"{programs}/kubelet",
            f"--cert-dir={state}/kubelet-certificates",
            f"--config={config}/kubelet.json",
            f"--hostname-override={NODE_NAME}",
            f"--kubeconfig={config}/kubelet.kubeconfig",
            f"--node-ip={NODE_ADDRESS}",
            "--oom-score-adj=0",
            f"--root-dir={state}/kubelet",
        ],
        "kube-proxy": [
            f"{programs}/kube-proxy",
            f"--cluster-cidr={POD_RANGE}",
            "--conntrack-max-per-core=0",
            f"--hostname-override={NODE_NAME}",
            f"--kubeconfig={config}/proxy.kubeconfig",
            "--proxy-mode=iptables",
        ],
    }


# Names outside the cluster are answered at once with "no such name": the cluster has no way out, and a forwarder's
# timeouts would make every such look-up slow instead.
COREFILE = """\
.:53 {
    errors
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        ttl 5
    }
    template ANY ANY . {
        rcode NXDOMAIN
    }
}
"""


def coredns_manifests() -> list[dict[str, object]]:
    """CoreDNS as the service `kube-dns`, with the rights it needs to see services and endpoints."""
    meta = {"name": "coredns", "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "50Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    subject = {"kind": "ServiceAccount", **meta}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "native:coredns"}
    ports = [{"name": f"dns-{name.lower()}", "port": 53, "protocol": name} for name in ("UDP", "TCP")]
    rbac = "rbac.authorization.k8s.io/v1"
    cluster_meta = {"name": "native:coredns"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": cluster_meta, "rules": rules},
        {
            "apiVersion": rbac,
            "kind": "ClusterRoleBinding",
            "metadata": cluster_meta,
            "roleRef": role,
            "subjects": [subject],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE, "selector": labels, "ports": ports},
        },
    ]
