import type { UpCluster } from '../cli/programs.js';

/** What follows QEMU's `-drive` for the volume vm1 of a cluster. */
export function driveOf({ facts }: UpCluster): string {
  const server = `file.server.type=unix,file.server.path=${facts.dir}/nbd.sock`;
  return `file.driver=nbd,${server},file.export=vm1,file.reconnect-delay=30`;
}
