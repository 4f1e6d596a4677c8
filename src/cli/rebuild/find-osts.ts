import { patiently } from '../../client/index.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Result } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { linkOptions, ServerLink } from '../server-link.js';

/** A server to ask: all its addresses, and its id where somebody knew it. */
export interface Target {
  readonly ostId: string | null;
  readonly addresses: readonly string[];
  /** When the management server heard of it last; null where that is not known. */
  readonly lastSeenWallMs: number | null;
}

/** An MDS that is up answers within this. */
const PROBE_MS = 2000;

/**
 * The OSTs to ask: those named, else those that the management server of the location has heard of, down ones too.
 * @throws RawstorError USAGE, CONFIG, UNAVAILABLE
 */
export async function findOsts(context: Context, named: readonly string[] | undefined): Promise<Target[]> {
  if (named !== undefined)
    return named.map((each) => ({ ostId: null, addresses: [each], lastSeenWallMs: null }));
  const servers = await askMgs(context);
  const osts = servers.filter((server) => server.role === 'ost');
  if (osts.length > 0) {
    return osts.map(({ id, addresses, lastSeenWallMs }) => ({ ostId: id, addresses, lastSeenWallMs }));
  }
  throw new RawstorError('UNAVAILABLE', 'the management server knows no OST', {
    hint: 'name every OST of the cluster with --ost',
  });
}

/**
 * Two MDSs of one cluster would each hand out epochs.
 * @throws RawstorError BUSY when one answers at an address that the location names
 */
export async function checkNoMds(context: Context): Promise<void> {
  let addresses: string[] = [];
  try {
    const place = context.location();
    if (place.kind === 'config') addresses = [...place.config.mds];
    addresses.push(...(await registeredMds(context)));
  } catch {
    // Without a location there is nobody to ask.
  }
  for (const address of new Set(addresses)) {
    let link: ServerLink;
    try {
      link = await ServerLink.open([address], linkOptions(context, PROBE_MS));
    } catch {
      continue;
    }
    const { role } = link;
    link.close();
    if (role !== 'mds') continue;
    throw new RawstorError('BUSY', 'an MDS of this cluster is running', {
      where: address,
      hint: 'stop it first: nothing may change while a new one is made',
    });
  }
}

/** The MDS of the location. @throws RawstorError UNAVAILABLE */
export function mdsLink(context: Context): Promise<ServerLink> {
  return patiently(context.clock, context.patience(), () => openMdsLink(context));
}

async function openMdsLink(context: Context): Promise<ServerLink> {
  const place = context.location();
  const addresses = place.kind === 'config' ? [...place.config.mds] : [];
  let failure: RawstorError | null = null;
  if (place.kind !== 'config') {
    for (const address of place.addresses) {
      try {
        const link = await ServerLink.open([address], linkOptions(context));
        if (link.role === 'mds') return link;
        link.close();
      } catch (error) {
        failure = asRawstorError(error, address);
      }
    }
  }
  if (addresses.length === 0) {
    const registered = await registeredMds(context).catch((error) => {
      throw failure ?? error;
    });
    addresses.push(...registered);
  }
  return ServerLink.open(addresses, linkOptions(context));
}

/** Addresses of the MDSs that the management server has heard of. */
async function registeredMds(context: Context): Promise<string[]> {
  const servers = await askMgs(context);
  return servers.filter((server) => server.role === 'mds').flatMap((server) => server.addresses);
}

async function askMgs(context: Context): Promise<Result<'mgs.cluster'>['servers']> {
  const place = context.location();
  const addresses = place.kind === 'config' ? place.config.mgs : place.addresses;
  const failures: string[] = [];
  for (const address of addresses) {
    try {
      const link = await ServerLink.open([address], linkOptions(context));
      try {
        if (link.role === 'mgs') return (await link.call('mgs.cluster', {}, context.globals.timeout)).servers;
        failures.push(`${address} is no MGS`);
      } finally {
        link.close();
      }
    } catch (error) {
      failures.push(`${address}: ${asRawstorError(error).message}`);
    }
  }
  throw new RawstorError('UNAVAILABLE', 'no management server answers', {
    where: failures.join('; ') || 'the location names none',
    hint: 'name every OST of the cluster with --ost',
  });
}
