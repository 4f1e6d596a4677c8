#!/usr/bin/env bash
# A Ceph cluster of one monitor and three OSDs, and an RBD image behind qemu-nbd, in the namespaces this is started in.
# Usage: ceph.sh DIR SIZE_BYTES
set -euo pipefail
dir=$1 size=$2
cd "$dir"
ip link set lo up
mkdir run mon
fsid=$(cat /proc/sys/kernel/random/uuid)
# Sparse. Three times the image would do; the rest is for what BlueStore keeps beside the data.
block=$((size + size / 4 + (6 << 30)))

cat >ceph.conf <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:3300/0]
mon initial members = a
public network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
keyring = $dir/keyring
run dir = $dir/run
admin socket = $dir/run/\$cluster-\$name-\$pid.asok
log file = $dir/run/\$name.log
# All OSDs are on this host.
osd crush chooseleaf type = 0
osd pool default size = 3
osd pool default min size = 2
osd pool default pg autoscale mode = off
mon osd min up ratio = 0
mon data avail warn = 1
mon data avail crit = 1
osd objectstore = bluestore
bluestore block size = $block
osd memory target = 1073741824
CONF
touch keyring

monmaptool --create --addv a '[v2:127.0.0.1:3300/0]' --fsid "$fsid" monmap
ceph-mon -c ceph.conf --mkfs -i a --monmap monmap --mon-data mon
ceph-mon -c ceph.conf -i a --mon-data mon -f >run/mon.out 2>&1 &
export CEPH_CONF=$dir/ceph.conf
timeout 30 ceph -s

for i in 0 1 2; do
  uuid=$(cat /proc/sys/kernel/random/uuid)
  mkdir "osd$i"
  ceph osd new "$uuid" "$i"
  ceph-osd -i "$i" --mkfs --osd-uuid "$uuid" --osd-data "osd$i"
  ceph-osd -i "$i" --osd-data "osd$i" -f >"run/osd$i.out" 2>&1 &
done
for _ in $(seq 100); do
  ceph osd stat | grep -q '3 up' && break
  sleep 0.2
done
ceph osd stat | grep '3 up'
ceph osd pool create rbd 32 32
rbd create --size "${size}B" --image-feature layering,exclusive-lock disk
exec qemu-nbd --persistent --shared=16 --cache=writeback --format=raw --socket="$dir/nbd.sock" -x disk \
  "rbd:rbd/disk:conf=$dir/ceph.conf"
