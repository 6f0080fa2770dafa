#!/bin/bash
# Runs in the guest as root: bash guest.sh OUT REPO COMMAND...
#
# Completes what virtme-ng's init leaves open and runs COMMAND in REPO. OUT is a folder of the host and gets: ready (the
# kernel's release, once COMMAND may start), log (COMMAND's output), status (its exit status). REPO and most else is an
# overlay that dies with the guest. What this script itself prints goes to the console.
# Status 125 means that the guest itself would not do, as with env(1) and docker run.
set -u
out=$1 repo=$2
shift 2

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8

finish() {
    echo "$1" > "$out/status.new" && mv "$out/status.new" "$out/status"
    exit "$1"
}
refuse() {
    echo "sigtrace-vm: $*, in Linux $(uname -r)" | tee -a "$out/log"
    finish 125
}
overlay() {
    mkdir -p "/run/overlay$1/upper" "/run/overlay$1/work"
    mount -t overlay -o "lowerdir=/run/host$1,upperdir=/run/overlay$1/upper,workdir=/run/overlay$1/work" sigtrace "$1"
}

# virtme-ng shares the host's files uncached; starting Python over a second, cached 9p mount takes half as long.
# The modules that the init put on top of /usr/lib come along.
mkdir -p /run/host /run/modules
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 sigtrace /run/host ||
    refuse "cannot mount the host's files over 9p"
mount --bind /lib/modules /run/modules
overlay /usr && mkdir -p /lib/modules && mount --bind /run/modules /lib/modules || refuse "cannot overlay /usr"
overlay "$repo" || refuse "cannot overlay $repo"

mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || refuse "cannot mount bpffs on /sys/fs/bpf"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing ||
    refuse "cannot mount tracefs on /sys/kernel/tracing"
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || refuse "/sys/fs/cgroup is no cgroup v2 tree"
[ -r /sys/kernel/btf/vmlinux ] || refuse "no /sys/kernel/btf/vmlinux: built without CONFIG_DEBUG_INFO_BTF?"
# As systemd leaves it on a node: child groups can limit memory, tasks and CPU time.
echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control || refuse "cannot enable cgroup controllers"
[ -w /tmp ] || refuse "/tmp is not writable"
cd "$repo" || refuse "cannot enter $repo"

# A pipe, so that many writers, seeks and /dev/stdout work as usual. It outlives COMMAND if a left-over child holds it,
# so it is drained for a moment only. A session of its own keeps the console's hang-ups away.
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
exec 3> >(exec cat >> "$out/log")
drain=$!
uname -r > "$out/ready.new" && mv "$out/ready.new" "$out/ready"
setsid --wait "$@" < /dev/null >&3 2>&3 3>&-
status=$?
exec 3>&-
timeout 5 tail --pid="$drain" -s 0.1 -f /dev/null
finish "$status"
