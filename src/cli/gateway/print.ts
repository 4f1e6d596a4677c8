import { accessSync, constants } from 'node:fs';
import { nbdUri } from '../../nbd-server/index.js';

/** How to use an export of a gateway: for QEMU, for libvirt, for anything that takes an NBD URI. */
export interface ExportPlace {
  readonly address: string;
  readonly name: string;
}

export type Accelerator = 'auto' | 'kvm' | 'tcg';

const RECONNECT_S = 30;

export function uriOf(place: ExportPlace): string {
  return nbdUri(place.address, place.name);
}

/**
 * A whole command line that starts a guest on the volume. With `reconnect-delay` the guest waits for a gateway
 * that is started again, instead of seeing errors.
 */
export function qemuCommand(place: ExportPlace, accelerator: Accelerator): string {
  const usable = acceleratorOf(accelerator);
  const server = serverOf(place.address);
  const where =
    server.kind === 'unix'
      ? ['file.server.type=unix', `file.server.path=${escaped(server.path)}`]
      : ['file.server.type=inet', `file.server.host=${server.host}`, `file.server.port=${server.port}`];
  const drive = [
    'if=virtio',
    'format=raw',
    'cache=none',
    isSnapshot(place) ? 'readonly=on' : 'discard=unmap',
    'file.driver=nbd',
    ...where,
    `file.export=${escaped(place.name)}`,
    `file.reconnect-delay=${RECONNECT_S}`,
  ].join(',');
  return `qemu-system-x86_64 -machine q35,accel=${usable} -cpu max -smp 2 -m 2G -drive ${shellWord(drive)}`;
}

/** As `-machine accel=` has it. */
export function acceleratorOf(accelerator: Accelerator): string {
  return accelerator === 'auto' ? (hasKvm() ? 'kvm:tcg' : 'tcg') : accelerator;
}

/** A `<disk>` for a domain of libvirt. */
export function libvirtDisk(place: ExportPlace): string {
  const server = serverOf(place.address);
  const host =
    server.kind === 'unix'
      ? `<host transport='unix' socket='${xml(server.path)}'/>`
      : `<host name='${xml(server.host)}' port='${server.port}'/>`;
  return [
    "<disk type='network' device='disk'>",
    `  <driver name='qemu' type='raw' cache='none'${isSnapshot(place) ? '' : " discard='unmap'"}/>`,
    `  <source protocol='nbd' name='${xml(place.name)}'>`,
    `    ${host}`,
    `    <reconnect delay='${RECONNECT_S}'/>`,
    '  </source>',
    "  <target dev='vda' bus='virtio'/>",
    ...(isSnapshot(place) ? ['  <readonly/>'] : []),
    '</disk>',
  ].join('\n');
}

/** Only those have an @ in their names; they are to be read. */
function isSnapshot({ name }: ExportPlace): boolean {
  return name.includes('@');
}

type ServerPlace = { kind: 'unix'; path: string } | { kind: 'tcp'; host: string; port: string };

function serverOf(address: string): ServerPlace {
  if (address.startsWith('unix:')) return { kind: 'unix', path: address.slice('unix:'.length) };
  const at = address.lastIndexOf(':');
  const host = address.slice('tcp://'.length, at).replace(/^\[(.*)\]$/, '$1');
  return { kind: 'tcp', host, port: address.slice(at + 1) };
}

function hasKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** QEMU's option lists: a comma in a value is doubled. */
export function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

export function shellWord(text: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export function xml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll("'", '&apos;')
    .replaceAll('"', '&quot;');
}
