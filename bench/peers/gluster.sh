#!/usr/bin/env bash
# GlusterFS with three bricks, replica 3, and an image on it behind qemu-nbd, in the namespaces this is started in.
# Usage: gluster.sh DIR SIZE_BYTES
set -euo pipefail
dir=$1 size=$2
cd "$dir"
# It refuses loopback addresses by their number, so the loopback device gets another one.
address=10.77.0.1
ip link set lo up
ip address add "$address/32" dev lo
mkdir state log run brick0 brick1 brick2
mkdir -p /run/gluster /var/log/glusterfs
mount --bind run /run/gluster
mount --bind log /var/log/glusterfs

cat >glusterd.vol <<CONF
volume management
    type mgmt/glusterd
    option working-directory $dir/state
    option run-directory /run/gluster
    option transport-type socket
    option transport.socket.listen-port 24007
    option transport.address-family inet
end-volume
CONF
glusterd --volfile "$dir/glusterd.vol" --pid-file "$dir/glusterd.pid" --log-file "$dir/log/glusterd.log" --no-daemon &
cli() { gluster --mode=script "$@"; }
for _ in $(seq 100); do
  cli pool list >/dev/null 2>&1 && break
  sleep 0.2
done
cli volume create bench replica 3 "$address:$dir/brick0" "$address:$dir/brick1" "$address:$dir/brick2" force
# What its authors recommend for disks of virtual machines; an option that this version does not know is passed over.
while IFS='=' read -r option value; do
  [[ $option =~ ^[a-z] ]] && { cli volume set bench "$option" "$value" || true; }
done </etc/glusterfs/group-virt.example
cli volume start bench
qemu-img create -q -f raw "gluster+tcp://$address/bench/disk.raw" "$size"
exec qemu-nbd --persistent --shared=16 --cache=writeback --format=raw --socket="$dir/nbd.sock" -x disk \
  "gluster+tcp://$address/bench/disk.raw"
