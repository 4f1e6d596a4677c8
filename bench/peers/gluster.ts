import { scripted } from './in-namespaces.js';

/** Three bricks, replica 3, and an image on it through QEMU's own driver behind qemu-nbd. */
export const startGluster = scripted({
  name: 'GlusterFS replica 3',
  packages: ['glusterfs-server', 'glusterfs-client', 'qemu-utils', 'qemu-block-extra'],
  script: 'gluster.sh',
  fillBlockBytes: 4096,
  remark: "with the options of GlusterFS's own group `virt`",
});
