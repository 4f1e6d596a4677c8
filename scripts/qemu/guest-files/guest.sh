# Helpers of the scenarios, sourced inside the guest.
DEVICE=${DEVICE:-/dev/vda}

say() { echo "guest: $*"; }
fail() { echo "guest: FAILED: $*"; exit 1; }

# Virtio devices show up a moment after their driver.
wait_device() {
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -b "$DEVICE" ] && return 0
    sleep 0.2
  done
  fail "no $DEVICE"
}

make_fs() { mkfs.ext4 -q -F "$DEVICE" || fail mkfs; }
mount_fs() { mount -t ext4 "$DEVICE" /mnt || fail mount; }
umount_fs() { sync; umount /mnt || fail umount; }

# Changes nothing: what it would have to repair is a failure.
check_fs() { e2fsck -f -n "$DEVICE" >/tmp/fsck 2>&1 || { cat /tmp/fsck; fail fsck; }; }

# Files of random bytes under /mnt/data, their sizes around the edges of blocks, and the list of their sums.
write_files() { # COUNT
  mkdir -p /mnt/data
  number=0
  for size in 0 1 511 512 4095 4096 4097 65535 65537 1048579 4194304 8388613; do
    head -c $size /dev/urandom >/mnt/data/edge-$size
  done
  while [ $number -lt "$1" ]; do
    mkdir -p /mnt/data/$((number % 10))
    head -c $(((RANDOM * 3) % 40000)) /dev/urandom >/mnt/data/$((number % 10))/file-$number
    number=$((number + 1))
  done
  (cd /mnt && find data -type f | sort | xargs sha256sum) >/mnt/SUMS
  say "SUMS $(sha256sum </mnt/SUMS | cut -d' ' -f1) $(wc -l </mnt/SUMS)"
}

# Without the page cache of the write: the bytes come from the disk.
verify_files() {
  echo 3 >/proc/sys/vm/drop_caches
  (cd /mnt && sha256sum -c -s SUMS) || fail 'sums differ'
  files=$(find /mnt/data -type f | wc -l)
  [ "$files" = "$(wc -l </mnt/SUMS)" ] || fail "$files files, SUMS lists $(wc -l </mnt/SUMS)"
  say "verified $files files"
}
