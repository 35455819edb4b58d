#!/usr/bin/env bash
# The test cluster's first process: starts every part, starts a part again when it ends, and logs into the run folder.
# scripts/cluster.sh starts it: with all parts inside namespaces of its own (mounts, network, processes), so that the kernel
# ends and unmounts everything when this process ends; where nothing runs pods, as a process group.
#
#   init.sh <run folder>       settings are in <run folder>/settings
set -euo pipefail
run=$1
# What whoever starts this has open, a lock for instance, is not the cluster's to keep. (From 255 bash reads this file.)
for descriptor in /proc/$$/fd/*; do
    descriptor=${descriptor##*/}
    [ "$descriptor" -le 2 ] || [ "$descriptor" -eq 255 ] || eval "exec $descriptor>&-"
done
# shellcheck source=/dev/null
. "$run/settings"
keys=$run/credentials

# Starts a part and goes on; a file <run>/stopped/<part> keeps it from being started again.
supervise() { # <part> <command…>
    local part=$1
    shift
    (
        while :; do
            if [ -e "$run/stopped/$part" ]; then
                sleep 0.2
                continue
            fi
            "$@" >>"$run/logs/$part.log" 2>&1 </dev/null &
            echo $! >"$run/pids/$part"
            code=0
            wait $! || code=$?
            rm -f "$run/pids/$part"
            echo "$(date -u +%FT%TZ) $part ended with $code" >>"$run/logs/init.log"
            sleep 0.5
        done
    ) &
}

await() { # <what> <command…>
    local what=$1
    shift
    for _ in $(seq 600); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    echo "not within a minute: $what" >>"$run/logs/init.log"
    return 1
}

# What would be shared with the machine is this cluster's own: sockets, network namespaces, addresses given out.
own_mounts() {
    mount --make-rslave /
    mount --make-rshared /
    mount -t tmpfs -o mode=755 tmpfs /run
    mount -t tmpfs -o mode=755 tmpfs /var/lib
    hostname "$node"
}

own_network() {
    ip link set lo up
    # The other end is put here by who started this.
    await "the way to the machine" ip link show eth0
    ip address add "$address/30" dev eth0
    ip link set eth0 up
    ip route add default via "$gateway"
    echo 1 >/proc/sys/net/ipv4/ip_forward
}

control_plane() {
    supervise etcd "$bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn --auto-compaction-retention 10m \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
        --initial-cluster "default=http://127.0.0.1:$peer_port"
    # OwnerReferencesPermissionEnforcement as on OpenShift: who sets blockOwnerDeletion must be allowed to.
    supervise kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
        --bind-address "$listen" --secure-port "$api_port" --advertise-address "$address" \
        --service-cluster-ip-range "$services" --authorization-mode Node,RBAC --allow-privileged \
        --enable-admission-plugins NodeRestriction,OwnerReferencesPermissionEnforcement \
        --client-ca-file "$keys/ca.crt" --tls-cert-file "$keys/apiserver.crt" --tls-private-key-file "$keys/apiserver.key" \
        --kubelet-client-certificate "$keys/kubelet-client.crt" --kubelet-client-key "$keys/kubelet-client.key" \
        --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$keys/service-accounts.pub" --service-account-signing-key-file "$keys/service-accounts.key" \
        --audit-policy-file "$run/audit-policy.yaml" --audit-log-path "$run/logs/audit.log" --audit-log-maxsize 500
    supervise kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$keys/controller-manager.kubeconfig" \
        --leader-elect=false --secure-port "$manager_port" --use-service-account-credentials \
        --service-account-private-key-file "$keys/service-accounts.key" --root-ca-file "$keys/ca.crt" \
        --kube-api-qps 500 --kube-api-burst 1000 --concurrent-deployment-syncs 20 --concurrent-replicaset-syncs 20 \
        --pvclaimbinder-sync-period 3s
}

scheduler() { # <port>
    supervise kube-scheduler "$bin/kube-scheduler" --kubeconfig "$keys/scheduler.kubeconfig" --leader-elect=false \
        --secure-port "$1" --kube-api-qps 500 --kube-api-burst 1000
}

# Nodes that are only objects. kwok says of every pod that is given to them that it runs and is ready.
simulated_nodes() {
    local number
    await "the API server" "$bin/kubectl" --kubeconfig "$keys/admin.kubeconfig" get --raw /readyz
    for number in $(seq "$nodes"); do
        printf 'apiVersion: v1\nkind: Node\nmetadata: {name: simulated-%s, annotations: {kwok.x-k8s.io/node: fake}}\n---\n' "$number"
    done | "$bin/kubectl" --kubeconfig "$keys/admin.kubeconfig" create -f - >>"$run/logs/init.log" 2>&1
    "$kwok" configuration >"$run/kwok.yaml"
    supervise kwok "$kwok" --kubeconfig "$keys/admin.kubeconfig" --config "$run/kwok.yaml" --manage-all-nodes \
        --cidr "$pods" --node-ip 127.0.0.1 --node-port 0
}

# The cgroup that all pods are in; found and emptied by it, should anything be left.
own_cgroup() {
    local controller
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir -p "/sys/fs/cgroup$cgroup"
        for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
            echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
        done
        return 0
    fi
    for controller in /sys/fs/cgroup/*/; do
        [ -e "$controller/cgroup.procs" ] || continue
        mkdir -p "$controller$cgroup" || continue
        if [ -e "$controller/cpuset.cpus" ]; then
            cat "$controller/cpuset.cpus" >"$controller$cgroup/cpuset.cpus"
            cat "$controller/cpuset.mems" >"$controller$cgroup/cpuset.mems"
        fi
    done
}

container_runtime() {
    mkdir -p "$run/cni"
    cat >"$run/containerd.toml" <<END
version = 2
root = "$run/containerd"
state = "/run/containerd-state"
[grpc]
address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "camera-operator.test/pause:1"
# Without it no sandbox starts where this process may not lower its own score.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_bin"
conf_dir = "$run/cni"
END
    cat >"$run/cni/10-test.conflist" <<END
{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {
    "type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}]}
END
    supervise containerd containerd --config "$run/containerd.toml" --log-level warn
    await "containerd" ctr --address "$run/containerd.sock" version
    ctr --address "$run/containerd.sock" --namespace k8s.io images import "$bin/pause.tar" >>"$run/logs/init.log" 2>&1
}

# Judges the first packet of every connection from or to a pod. It would have its own rules lead packets to it, for which many kernels
# lack an expression of nftables (nft_queue); iptables has had its target for it for long. What it does not get to judge, passes.
# Its rights are wide because nothing narrower was made for it.
network_policies() {
    local end mangle=(iptables --wait 10 --table mangle)
    "${mangle[@]}" --new-chain test-policies 2>/dev/null || "${mangle[@]}" --flush test-policies
    "${mangle[@]}" --append test-policies --match owner --uid-owner 0 --jump RETURN # the kubelet's probes
    "${mangle[@]}" --append test-policies --match conntrack --ctstate ESTABLISHED,RELATED --jump RETURN
    for end in --source --destination; do
        "${mangle[@]}" --append test-policies "$end" "$pods" --jump NFQUEUE --queue-num 100 --queue-bypass
    done
    "${mangle[@]}" --check POSTROUTING --jump test-policies 2>/dev/null || "${mangle[@]}" --append POSTROUTING --jump test-policies
    exec "$bin/network-policies" -kubeconfig "$keys/admin.kubeconfig" -node "$node" -queue 100
}

node_parts() {
    cat >"$run/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$keys/ca.crt"}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: "unix://$run/containerd.sock"
cgroupDriver: cgroupfs
cgroupRoot: "$cgroup"
failCgroupV1: false
failSwapOn: false
resolvConf: ""
clusterDNS: ["$address"]
clusterDomain: cluster.local
podLogsDir: "$run/pod-logs"
volumePluginDir: "$run/kubelet/plugins-exec"
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 200
END
    cat >"$run/Corefile" <<END
.:53 {
    bind $address
    errors
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $keys/dns.kubeconfig
        ttl 1
    }
}
END
    scheduler 10259
    supervise kubelet "$bin/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$keys/kubelet.kubeconfig" \
        --hostname-override "$node" --node-ip "$address" --root-dir "$run/kubelet" --cert-dir "$run/kubelet/pki"
    supervise kube-proxy "$bin/kube-proxy" --kubeconfig "$keys/proxy.kubeconfig" --hostname-override "$node" \
        --proxy-mode iptables --cluster-cidr "$pods" --conntrack-max-per-core 0 --conntrack-min 0 \
        --conntrack-tcp-timeout-established 0s --conntrack-tcp-timeout-close-wait 0s
    supervise dns "$bin/dns" -conf "$run/Corefile"
    # Only started by who wants it: most tests look at pods from this machine, which no policy lets in.
    touch "$run/stopped/network-policies"
    supervise network-policies network_policies
}

trap 'exit 0' TERM INT
mkdir -p "$run"/{logs,pids,stopped,volumes}
cat >"$run/audit-policy.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
$([ "$mode" != simulated ] || echo '- {level: Metadata, users: ["system:serviceaccount:camera-operator:operator"]}')
- {level: None, verbs: [get, list, watch]}
- {level: None, userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]}
- {level: None, users: ["system:kube-scheduler", "system:kube-controller-manager", "system:kube-proxy", "system:apiserver"]}
- {level: Metadata}
END
if [ "$mode" = node ]; then
    own_mounts
    own_network
fi
control_plane
if [ "$mode" = node ]; then
    own_cgroup
    container_runtime
    node_parts
elif [ "$mode" = simulated ]; then
    scheduler 0
    simulated_nodes
fi
wait
