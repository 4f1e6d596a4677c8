/** Volumes as files: the kernel's FUSE protocol over block devices. */
export { FuseMount, type FuseMountOptions } from './mount.js';
export { rawstorMounts } from './mounts.js';
