import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { RawstorError } from '../../common/errors.js';
import type { Context } from '../context.js';
import { answers } from './control.js';

/** A running gateway, as this machine reaches it. */
export interface FoundGateway {
  /** NBD address. */
  readonly address: string;
  readonly control: string | undefined;
}

/**
 * The gateway of the configuration, else one that the management server knows: on this machine first, by
 * Unix socket first.
 * @throws RawstorError UNAVAILABLE saying what to start
 */
export async function findGateway(context: Context): Promise<FoundGateway> {
  const place = context.location();
  if (place.kind === 'config') {
    const { nbd, control } = place.config.gateway;
    for (const address of nbd) if (await isThere(address)) return { address, control };
  }
  for (const address of await registered(context)) {
    if (await isThere(address)) return { address, control: undefined };
  }
  throw new RawstorError('UNAVAILABLE', 'no NBD gateway of this cluster is running', {
    hint: 'start one with `rawstor serve nbd` (`rawstor up` has one), or serve from here with --foreground',
  });
}

/** Unix sockets may belong to a gateway that was killed. */
async function isThere(address: string): Promise<boolean> {
  if (!address.startsWith('unix:')) return true;
  const path = address.slice('unix:'.length);
  return existsSync(path) && (await answers(path));
}

async function registered(context: Context): Promise<string[]> {
  const { mgs } = await context.cluster();
  if (mgs === null) return [];
  const { servers } = await mgs
    .call('mgs.cluster', {}, context.globals.timeout)
    .catch(() => ({ servers: [] }));
  const up = servers.filter((server) => server.role === 'nbd' && server.health === 'up');
  const here = up.filter((server) => server.labels.host === hostname());
  const elsewhere = up.filter((server) => !here.includes(server));
  return [
    ...here.flatMap((server) => server.addresses).sort((a, b) => rank(a) - rank(b)),
    ...elsewhere.flatMap((server) => server.addresses).filter((address) => !address.startsWith('unix:')),
  ];
}

const rank = (address: string) => (address.startsWith('unix:') ? 0 : 1);
