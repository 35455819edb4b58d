#!/usr/bin/env bash
# A real Kubernetes on this machine for the tests, without Docker: up in seconds once its programs are built, and everything
# of it gone after `down`, whatever happened in between. tests/cluster/README.md says how it is made.
#
#   scripts/cluster.sh up [--api-only]     etcd, API server, controllers; and, as root, scheduler, kubelet, network, DNS
#   scripts/cluster.sh up --simulated <n>  as with --api-only, and a scheduler with n nodes whose kubelets kwok plays
#   scripts/cluster.sh down                ends it; nothing of it stays but the programs in .cache
#   scripts/cluster.sh status              what runs; exit code 1 where nothing does
#   scripts/cluster.sh kubeconfig          prints the path of the administrator's kubeconfig
#   scripts/cluster.sh kubectl …           kubectl as the administrator
#   scripts/cluster.sh load-image <file>   imports an OCI or Docker archive for the pods
#   scripts/cluster.sh stop|start|kill <part>   a part such as kube-apiserver: ends it and keeps it so; starts it again; kill -9
#   scripts/cluster.sh exec <command…>     runs a command inside: its network, its mounts
#   scripts/cluster.sh host                the address at which pods reach this machine
#
# With --name <name> (default: default) before the command there can be several, and each checkout of the project has its own:
# nothing of one is another's, by whatever name. With --api-only or --simulated it needs no root.
# CAMERA_OPERATOR_CLUSTER_FOLDER says where run folders are (default: /var/tmp/camera-operator-cluster/<hash of this folder>).
# Exit code 77: such a cluster cannot be had here; the last line says why.
set -euo pipefail
cd "$(dirname "$0")/.."

short_hash() { printf '%s' "$1" | sha256sum | cut -c1-8; }
all=/var/tmp/camera-operator-cluster
base=${CAMERA_OPERATOR_CLUSTER_FOLDER:-$all/$(short_hash "$PWD")}
name=default
if [ "${1:-}" = --name ]; then
    name=${2:?--name wants a name}
    shift 2
fi
run=$base/$name
# What is shared with the machine is called by this, so that cleaning up can never reach another cluster's.
id=$(short_hash "$run")
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*" >&2; }
cannot() {
    say "no test cluster here: $*"
    exit 77
}
fail() {
    say "$*"
    exit 1
}

read_settings() {
    [ -r "$run/settings" ] || return 1
    # shellcheck source=/dev/null
    . "$run/settings"
}

# The first process, as this machine sees it; nothing where it has ended (its number may be another's by now).
outer_pid() {
    local pid
    pid=$(cat "$run/pid" 2>/dev/null) || return 1
    { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "init.sh $run"; } 2>/dev/null || return 1
    echo "$pid"
}

# The first process within the namespaces.
inner_pid() {
    local pid
    pid=$(outer_pid) || return 1
    cut -d' ' -f1 "/proc/$pid/task/$pid/children" | grep .
}

inside() {
    if [ "$mode" = node ]; then
        nsenter --target "$(inner_pid)" --mount --net --pid --uts -- "$@"
    else
        "$@"
    fi
}

kubectl() { "$bin/kubectl" --kubeconfig "$run/kubeconfig" "$@"; }

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# A number whose addresses nobody on this machine has: 10.<192 + n>.0.0/16 is this cluster's.
free_network() {
    local n
    for n in $(seq 0 31); do
        if [ -z "$(ip -4 route show root "10.$((192 + n)).0.0/16")" ]; then
            echo "$n"
            return
        fi
    done
    fail "no free network among 10.192.0.0/11"
}

check_requirements() { # <mode>
    [ "$(uname -s)" = Linux ] || cannot "it needs Linux"
    [ "$1" = node ] || return 0
    [ "$(id -u)" -eq 0 ] || cannot "pods need root (with --api-only there is an API server without pods)"
    unshare --mount --net --pid --fork true 2>/dev/null || cannot "this kernel, or the container around this, allows no namespaces"
    grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || cannot "the kernel has no overlayfs"
    scripts/install.sh cluster || cannot "its packages could not be installed (scripts/install.sh cluster)"
}

write_settings() { # <mode>
    local n
    mkdir -p "$run" "$all"
    chmod 755 "$base" "$run"
    # Until its addresses are taken, nobody else may choose.
    exec 8>"$all/networks.lock"
    flock 8
    if [ "$1" = node ]; then
        n=$(free_network)
        cat >"$run/settings" <<END
mode=node
bin=$bin
node=test-node
interface=co-$id
gateway=10.$((192 + n)).0.1
address=10.$((192 + n)).0.2
listen=0.0.0.0
pods=10.$((192 + n)).64.0/18
services=10.$((192 + n)).128.0/18
first_service=10.$((192 + n)).128.1
etcd_port=2379
peer_port=2380
api_port=6443
manager_port=10257
cgroup=/camera-operator-test-$id
cni_bin=$(dirname "$(ls /usr/lib/cni/ptp /opt/cni/bin/ptp 2>/dev/null | head -1)")
END
    else
        cat >"$run/settings" <<END
mode=$1
bin=$bin
node=
address=127.0.0.1
listen=127.0.0.1
services=10.0.0.0/24
first_service=10.0.0.1
etcd_port=$(free_port)
peer_port=$(free_port)
api_port=$(free_port)
manager_port=0
END
        # Addresses of simulated pods are addresses of this machine, so that one program here can answer for all of them.
        [ "$1" != simulated ] || cat >>"$run/settings" <<END
kwok=$kwok
nodes=$nodes
pods=127.77.0.1/16
END
    fi
    read_settings
}

start_first_process() {
    mkdir -p "$run/logs"
    if [ "$mode" = node ]; then
        nohup setsid unshare --mount --net --pid --uts --ipc --fork --kill-child --mount-proc \
            bash tests/cluster/init.sh "$run" >>"$run/logs/init.log" 2>&1 </dev/null 8>&- 9>&- &
        echo $! >"$run/pid"
        await "the namespaces" 10 inner_pid
        ip link add "$interface" type veth peer name eth0 netns "$(inner_pid)"
        ip address add "$gateway/30" dev "$interface"
        ip link set "$interface" up
        ip route add "$pods" via "$address"
        ip route add "$services" via "$address"
    else
        nohup setsid bash tests/cluster/init.sh "$run" >>"$run/logs/init.log" 2>&1 </dev/null 8>&- 9>&- &
        echo $! >"$run/pid"
    fi
}

await() { # <what> <seconds> <command…>
    local what=$1 end=$((SECONDS + $2))
    shift 2
    while [ "$SECONDS" -le "$end" ]; do
        ! "$@" >/dev/null 2>&1 || return 0
        outer_pid >/dev/null || break
        sleep 0.1
    done
    say "the test cluster did not come up: $what; its logs are in $run/logs"
    tail -n 5 "$run"/logs/*.log >&2 || true
    return 1
}

has_service_account() { kubectl --namespace default get serviceaccount default -o name; }
are_nodes_ready() { # <how many>
    local ready
    ready=$(kubectl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}')
    [ "$(tr ' ' '\n' <<<"$ready" | grep -cx True)" -eq "$1" ]
}

up() { # [--api-only | --simulated <nodes>]
    local wanted=node nodes=1 started=$SECONDS
    case "${1:-}" in
        --api-only) wanted=api-only ;;
        --simulated) wanted=simulated nodes=${2:?--simulated wants a number of nodes} ;;
    esac
    mkdir -p "$base"
    exec 9>"$base/$name.lock"
    flock 9
    if read_settings && outer_pid >/dev/null; then
        if [ "$mode" = "$wanted" ] || [ "$wanted" = api-only ]; then
            say "the test cluster '$name' is up already ($mode)"
            echo "$run/kubeconfig"
            return 0
        fi
        say "the test cluster '$name' is up in another way ($mode); starting it anew"
    fi
    clean_up
    check_requirements "$wanted"
    bin=$(tests/cluster/build.sh) || exit $?
    [ "$wanted" != simulated ] || kwok=$(tests/cluster/kwok/build.sh) || exit $?
    started=$SECONDS
    write_settings "$wanted"
    "$bin/kube" credentials -folder "$run/credentials" -server "https://$address:$api_port" \
        -addresses "127.0.0.1,$address,$first_service" -node "$node"
    cp "$run/credentials/admin.kubeconfig" "$run/kubeconfig"
    trap 'say "cleaning up after a start that failed (the logs are kept in '"$run"'.failed)"; keep_logs; clean_up' EXIT
    start_first_process
    # Its addresses are taken, and its ports are as soon as it answers.
    [ "$mode" != node ] || exec 8>&-
    await "the API server" 90 kubectl get --raw /readyz
    exec 8>&-
    say "API server ready after $((SECONDS - started)) s"
    if [ "$mode" != api-only ]; then
        await "the nodes" 120 are_nodes_ready "$nodes"
        say "nodes ready after $((SECONDS - started)) s"
    fi
    # Pods are refused in a namespace that has no service account yet.
    await "the controllers" 60 has_service_account
    trap - EXIT
    say "test cluster '$name' is up ($mode) after $((SECONDS - started)) s"
    echo "$run/kubeconfig"
}

keep_logs() {
    rm -rf "$run.failed"
    cp -r "$run/logs" "$run.failed" 2>/dev/null || true
}

# Ends whatever there is of this cluster, also of one that was torn apart.
clean_up() {
    local pid cgroup_folder
    [ -d "$run" ] || return 0
    read_settings || true
    if pid=$(outer_pid); then
        # With namespaces the kernel ends all that is inside; without, they are one process group.
        kill -KILL -- "-$pid" 2>/dev/null || true
        for _ in $(seq 200); do
            [ -e "/proc/$pid" ] || break
            sleep 0.05
        done
    fi
    if [ -n "${cgroup:-}" ]; then
        # What is inside a cgroup of this name was started by this cluster.
        for _ in $(seq 100); do
            [ -n "$(find /sys/fs/cgroup -maxdepth 2 -type d -name "${cgroup#/}" -print -quit)" ] || break
            find /sys/fs/cgroup -maxdepth 2 -type d -name "${cgroup#/}" -print | while read -r cgroup_folder; do
                find "$cgroup_folder" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -KILL 2>/dev/null || true
                find "$cgroup_folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
            done
            sleep 0.05
        done
    fi
    if [ -n "${interface:-}" ] && ip link show "$interface" >/dev/null 2>&1; then
        ip link delete "$interface"
    fi
    # One file system only: nothing that might still be mounted beneath is touched.
    for _ in $(seq 50); do
        rm -rf --one-file-system "$run" 2>/dev/null && break
        sleep 0.1
    done
    [ ! -e "$run" ] || fail "could not remove $run"
}

down() {
    mkdir -p "$base"
    exec 9>"$base/$name.lock"
    flock 9
    clean_up
    say "test cluster '$name' is down"
}

status() {
    if ! read_settings || ! outer_pid >/dev/null; then
        say "test cluster '$name' is not up"
        return 1
    fi
    echo "test cluster '$name' ($mode), kubeconfig $run/kubeconfig, logs $run/logs"
    ls "$run/pids" | sed 's/^/  runs: /'
    ls "$run/stopped" | sed 's/^/  stopped: /'
    kubectl get nodes,pods --all-namespaces 2>/dev/null || echo "  the API server does not answer"
}

require_up() {
    read_settings && outer_pid >/dev/null || fail "test cluster '$name' is not up (scripts/cluster.sh up)"
}

signal_part() { # <signal> <part>
    local pid
    pid=$(cat "$run/pids/$2" 2>/dev/null) || return 0
    inside bash -c "kill -$1 $pid" 2>/dev/null || true
}

case "${1:-}" in
    up) shift && up "$@" ;;
    down) down ;;
    status) status ;;
    kubeconfig) require_up && echo "$run/kubeconfig" ;;
    kubectl) require_up && shift && kubectl "$@" ;;
    host) require_up && echo "${gateway:-127.0.0.1}" ;;
    exec) require_up && shift && inside "$@" ;;
    load-image)
        require_up
        [ "$mode" = node ] || fail "there is no node for images (the cluster is up in another way: $mode)"
        ctr --address "$run/containerd.sock" --namespace k8s.io images import "${2:?load-image wants a file}" >&2
        ;;
    stop)
        require_up
        touch "$run/stopped/${2:?stop wants a part}"
        signal_part TERM "$2"
        # An API server waits a minute for its watches to end; what is tested is that it is away.
        end=$((SECONDS + 5))
        while [ -e "$run/pids/$2" ] && [ "$SECONDS" -lt "$end" ]; do sleep 0.1; done
        [ ! -e "$run/pids/$2" ] || signal_part KILL "$2"
        ;;
    start) require_up && rm -f "$run/stopped/${2:?start wants a part}" ;;
    kill) require_up && signal_part KILL "${2:?kill wants a part}" ;;
    *)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
