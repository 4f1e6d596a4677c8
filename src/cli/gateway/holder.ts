import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname } from 'node:path';

const MARK_CHARACTERS = 12;

/**
 * Whom the metadata server knows as the user of the volumes that are served at an address. One process at a time listens there, so
 * that after a crash the next one is the same holder and has them back at once. A mark tells places apart that are called alike: of
 * machines with one host name, of containers. A cloned image has its original's /etc/machine-id, but a boot of its own.
 * @param address `unix:PATH` or `tcp://HOST:PORT`
 */
export function holderAt(program: string, address: string, name = address): string {
  return `${program}@${hostname()}/${markOf(address)} ${name}`;
}

function markOf(address: string): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const place = [boot, address.startsWith('unix:') ? placeOfSocket(address.slice(5)) : networkOf(address)];
  return createHash('sha256').update(place.join(' ')).digest('hex').slice(0, MARK_CHARACTERS);
}

/** Its directory, however that is called in a mount namespace. */
function placeOfSocket(path: string): string {
  try {
    const { dev, ino } = statSync(dirname(path), { bigint: true });
    return `${dev}:${ino} ${basename(path)}`;
  } catch {
    return networkOf(path);
  }
}

function networkOf(address: string): string {
  return `${readlinkSync('/proc/self/ns/net')} ${address}`;
}
