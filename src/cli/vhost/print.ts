import { type Accelerator, acceleratorOf, escaped, shellWord, xml } from '../gateway/print.js';

const RECONNECT_S = 1;
const QUEUES = 2;

/** A whole command line that starts a guest on the volume; it waits for a server that is started again. */
export function vhostQemuCommand(socketPath: string, accelerator: Accelerator): string {
  const chardev = `socket,id=rawstor,path=${escaped(socketPath)},reconnect=${RECONNECT_S}`;
  return [
    `qemu-system-x86_64 -machine q35,accel=${acceleratorOf(accelerator)},memory-backend=mem -cpu max -smp 2 -m 2G`,
    '-object memory-backend-memfd,id=mem,size=2G,share=on',
    `-chardev ${shellWord(chardev)}`,
    `-device vhost-user-blk-pci,chardev=rawstor,num-queues=${QUEUES}`,
  ].join(' ');
}

/** A `<disk>` for a domain of libvirt, and what the domain needs beside it. */
export function vhostLibvirtDisk(socketPath: string): string {
  return [
    "<!-- in the domain: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking> -->",
    "<disk type='vhostuser' device='disk'>",
    `  <driver name='qemu' type='raw' queues='${QUEUES}'/>`,
    `  <source type='unix' path='${xml(socketPath)}'>`,
    `    <reconnect enabled='yes' timeout='${RECONNECT_S}'/>`,
    '  </source>',
    "  <target dev='vda' bus='virtio'/>",
    '</disk>',
  ].join('\n');
}
