import { hostname } from 'node:os';
import { type KeyRing, type Patience, patiently } from '../../client/index.js';
import type { Clock } from '../../common/clock.js';
import { type ClusterConfig, resolveLocation } from '../../common/config.js';
import { RawstorError } from '../../common/errors.js';
import { environmentLevel, type Logger } from '../../common/log.js';
import { parseCopyRate } from '../../common/rates.js';
import { formatSizeBytes, GiB, MiB } from '../../common/units.js';
import { createIo, type Io } from '../../io/index.js';
import type { OptionSpec } from '../command.js';
import type { Context } from '../context.js';
import { openLog } from '../logging.js';
import { address, labels, list, size } from '../options.js';
import { processName } from '../process-name.js';
import { ServerLink } from '../server-link.js';

/** What a server process has one of. */
export interface RoleEnvironment {
  readonly io: Io;
  readonly clock: Clock;
  readonly log: Logger;
  readonly keys: KeyRing;
}

export function openEnvironment(
  context: Context,
  role: string,
  poolBytes: number | undefined,
): RoleEnvironment {
  const { verbose, quiet } = context.globals;
  const level = verbose ? 'debug' : quiet ? 'warn' : environmentLevel();
  const log = openLog(role, level);
  const io = createIo({
    warn: (text) => log.warn(text),
    ...(poolBytes === undefined ? {} : { poolBytes }),
  });
  return { io, clock: context.clock, log, keys: context.keys };
}

const POOL_MIN_BYTES = 16 * MiB;
const POOL_MAX_BYTES = 64 * GiB;

/** With less, a server could not take one large message from each of a few peers. */
function poolSize(text: string): number {
  const bytes = size(text);
  if (bytes >= POOL_MIN_BYTES && bytes <= POOL_MAX_BYTES) return bytes;
  throw new RawstorError('USAGE', `${formatSizeBytes(bytes)} of memory for I/O buffers are not possible`, {
    hint: `give ${formatSizeBytes(POOL_MIN_BYTES)} to ${formatSizeBytes(POOL_MAX_BYTES)}, or leave it out for 256 MiB`,
  });
}

/** Options of several servers. */
export const SERVER_OPTIONS = {
  listen: (port: number): OptionSpec => ({
    flags: '--listen <address>',
    help: `address to listen on, repeatable; tcp://127.0.0.1:${port} when there is none`,
    parse: list(address),
  }),
  advertise: {
    flags: '--advertise <address>',
    help: 'address to tell others, when it is not the one listened on; repeatable',
    parse: list(address),
  },
  dir: { flags: '--dir <path>', help: 'directory of its own; made ready when it is empty' },
  label: {
    flags: '--label <name=value>',
    help: 'label such as host=a or rack=r1; repeatable',
    parse: labels,
  },
  mds: { flags: '--mds <address>', help: 'metadata server; default: of the location', parse: list(address) },
  mgs: {
    flags: '--mgs <address>',
    help: 'management server; default: of the location',
    parse: list(address),
  },
  recoveryRate: {
    flags: '--recovery-rate <size>',
    help: 'most that resyncs and moves copy a second',
    parse: parseCopyRate,
  },
  recover: {
    flags: '--recover',
    help: 'also repair and move volumes that nobody has open and that have a replica here',
  },
  poolSize: {
    flags: '--pool-size <size>',
    help: 'memory for I/O buffers, which connections share (default: 256M)',
    parse: poolSize,
  },
} satisfies Record<string, OptionSpec | ((port: number) => OptionSpec)>;

/** What a server knows of its cluster at its start. */
export interface KnownCluster {
  readonly mds: readonly string[];
  readonly mgs: readonly string[];
  /** Of the file, where there is one. */
  readonly config: ClusterConfig | null;
}

/**
 * From the flags, else from the location: that may be absent unless it was asked for.
 * @throws RawstorError as `resolveLocation` does
 */
export async function knownCluster(
  context: Context,
  env: RoleEnvironment,
  flags: { mds?: readonly string[]; mgs?: readonly string[] },
  patience?: Patience,
): Promise<KnownCluster> {
  const { location, config } = context.globals;
  const asked = location !== undefined || config !== undefined || Boolean(process.env.RAWSTOR_LOCATION);
  let found: KnownCluster = { mds: [], mgs: [], config: null };
  try {
    const place = resolveLocation(location, process.env, process.cwd(), config);
    if (place.kind === 'config')
      found = { mds: place.config.mds, mgs: place.config.mgs, config: place.config };
    else if (flags.mds === undefined) {
      found = await patiently(env.clock, patience, () => askRoles(context, env, place.addresses));
    }
  } catch (error) {
    if (asked) throw error;
    if (!(error instanceof RawstorError) || error.code !== 'CONFIG' || error.hint === undefined) throw error;
    if (!error.message.startsWith('no cluster is known')) throw error;
  }
  return { ...found, mds: flags.mds ?? found.mds, mgs: flags.mgs ?? found.mgs };
}

/** Which of the addresses are what. An MGS names the MDSs. */
async function askRoles(
  context: Context,
  env: RoleEnvironment,
  addresses: readonly string[],
): Promise<KnownCluster> {
  const mds: string[] = [];
  const mgs: string[] = [];
  const timeoutMs = context.globals.timeout;
  let failure: unknown = null;
  for (const each of addresses) {
    const options = { io: env.io, clock: env.clock, name: processName(context.program), timeoutMs };
    let link: ServerLink;
    try {
      link = await ServerLink.open([each], options);
    } catch (error) {
      // Nothing needs an MGS, and one of several MDSs is enough.
      failure = error;
      continue;
    }
    try {
      if (link.role === 'mds') mds.push(each);
      if (link.role !== 'mgs') continue;
      mgs.push(each);
      const { servers } = await link.call('mgs.cluster', {}, timeoutMs);
      mds.push(...servers.filter((server) => server.role === 'mds').flatMap((server) => server.addresses));
    } finally {
      link.close();
    }
  }
  if (mds.length === 0 && failure !== null) throw failure;
  return { mds: [...new Set(mds)], mgs, config: null };
}

/**
 * `inFile`: how the configuration file says it, where it can. @throws RawstorError USAGE when nothing says it
 */
export function required<T>(value: T | undefined, flag: string, inFile?: string): T {
  if (value !== undefined) return value;
  const file = inFile === undefined ? '' : `, or write ${inFile} in the configuration file`;
  throw new RawstorError('USAGE', `${flag} is missing`, { hint: `give ${flag}${file}` });
}

/** The MDS must be known. @throws RawstorError USAGE when nothing says it */
export function knownMds({ mds }: Pick<KnownCluster, 'mds'>): readonly string[] {
  return required(mds.length > 0 ? mds : undefined, '--mds', '`mds = [...]`');
}

/** What an OST tells others; undefined where only it will know its port. */
export function advertised(listen: readonly string[]): string[] | undefined {
  return listen.some((each) => each.endsWith(':0')) ? undefined : reachable(listen);
}

/** Nobody can connect to a wildcard. */
export function reachable(addresses: readonly string[]): string[] {
  return addresses.map((each) => each.replace(/^tcp:\/\/(0\.0\.0\.0|\[::\]):/, `tcp://${hostname()}:`));
}

/** Closes in order, all of them even if one fails. */
export async function closeAll(parts: readonly (() => unknown)[]): Promise<void> {
  let failure: unknown = null;
  for (const close of parts) {
    try {
      await close();
    } catch (error) {
      failure ??= error;
    }
  }
  if (failure !== null) throw failure;
}
