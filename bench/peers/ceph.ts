import { scripted } from './in-namespaces.js';

/** Three OSDs with BlueStore on files, a monitor, and an RBD image behind qemu-nbd. */
export const startCeph = scripted({
  name: 'Ceph RBD, 3 OSDs',
  packages: ['ceph-mon', 'ceph-osd', 'ceph-common', 'qemu-utils', 'qemu-block-extra'],
  script: 'ceph.sh',
  // BlueStore writes past the page cache, and a thousand blocks of 4 KiB a second would take hours.
  fillBlockBytes: 2 ** 20,
  remark: 'its plain writes are durable when they are acknowledged',
});
