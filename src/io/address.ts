import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { RawstorError } from '../common/errors.js';
import type { Address } from './types.js';

export type ParsedAddress = { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };

/** `tcp://HOST:PORT`, `tcp://[V6]:PORT`, `unix:/path`. @throws RawstorError USAGE */
export function parseAddress(address: Address): ParsedAddress {
  const unix = /^unix:(\/.+)$/.exec(address);
  if (unix) return { kind: 'unix', path: unix[1]! };
  const tcp = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:/[\]]+)):(\d{1,5})$/.exec(address);
  const port = Number(tcp?.[3]);
  if (!tcp || port > 65535) {
    throw new RawstorError('USAGE', `'${address}' is not an address`, {
      hint: 'write tcp://HOST:PORT, tcp://[IPV6]:PORT or unix:/absolute/path',
    });
  }
  return { kind: 'tcp', host: (tcp[1] ?? tcp[2])!, port };
}

export function formatTcp(host: string, port: number): Address {
  return isIP(host) === 6 ? `tcp://[${host}]:${port}` : `tcp://${host}:${port}`;
}

/** A host name as an IP address, to listen there. @throws RawstorError NOT_FOUND, TIMEOUT */
export async function resolveHost(host: string, where: Address): Promise<string> {
  return (await resolveHosts(host, where, 10_000))[0]!;
}

/** All that it has, in the order to try them in. @throws RawstorError NOT_FOUND, TIMEOUT */
export async function resolveHosts(host: string, where: Address, timeoutMs: number): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new RawstorError('TIMEOUT', `no answer about host '${host}'`, { where })),
      timeoutMs,
    );
  });
  try {
    const found = await Promise.race([lookup(host, { all: true }), late]);
    return found.map(({ address }) => address);
  } catch (cause) {
    if (cause instanceof RawstorError) throw cause;
    throw new RawstorError('NOT_FOUND', `host '${host}' is not known`, {
      where,
      hint: 'check the name, or write its IP address',
      cause,
    });
  } finally {
    clearTimeout(timer);
  }
}
