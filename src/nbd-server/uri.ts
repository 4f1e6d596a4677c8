import { isIPv6 } from 'node:net';
import { RawstorError } from '../common/errors.js';
import type { Address } from '../io/types.js';
import { NBD_PORT } from './constants.js';

/**
 * NBD URI (doc/uri.md of the reference implementation) of an export behind an address of `Io`:
 * `nbd+unix:///export?socket=PATH`, `nbd://host:port/export`.
 * @throws RawstorError INVALID
 */
export function nbdUri(address: Address, exportName: string): string {
  // Allowed in a path, and easier to read: VOLUME@SNAPSHOT.
  const name = encodeURIComponent(exportName).replaceAll('%40', '@');
  if (address.startsWith('unix:/')) {
    // Slashes stay readable in a query; everything else that a URI or a shell might mistake is escaped.
    const path = encodeURIComponent(address.slice('unix:'.length)).replaceAll('%2F', '/');
    return `nbd+unix:///${name}?socket=${path}`;
  }
  const match = /^tcp:\/\/(?:\[([^\]]+)\]|([^:/]+)):(\d+)$/.exec(address);
  if (match === null) throw new RawstorError('INVALID', `'${address}' is not an address`);
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  const shown = isIPv6(host) ? `[${host}]` : host;
  return `nbd://${shown}${port === NBD_PORT ? '' : `:${port}`}/${name}`;
}
