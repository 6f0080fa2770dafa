#!/bin/bash
# In the guest: bash bcc.sh HEADERS COMMAND... HEADERS is a folder of the host with unpacked header packages. Puts the
# headers where a node has them, keeps a copy of the kernel's BTF for the tests to compare with, hides the BTF, and runs
# COMMAND. It all dies with the guest.
set -eu
headers=/run/host$1 # the host's files over a mount that caches
shift
release=$(uname -r)

mkdir -p /usr/src
mount --bind "$headers/usr/src" /usr/src
modules=$(readlink -f "/lib/modules/$release")
rm "/lib/modules/$release"
mkdir "/lib/modules/$release"
ln -s "$modules"/* "/lib/modules/$release/"
for folder in "$headers/lib/modules/$release" "$headers/usr/lib/modules/$release"; do
    for link in build source; do
        [ ! -L "$folder/$link" ] || cp -P "$folder/$link" "/lib/modules/$release/"
    done
done

cp /sys/kernel/btf/vmlinux /run/vmlinux.btf
mkdir /run/nothing
mount --bind /run/nothing /sys/kernel/btf
export SIGTRACE_BTF=/run/vmlinux.btf
exec "$@"
