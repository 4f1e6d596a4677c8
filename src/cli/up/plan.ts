import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { CLUSTER_FILE } from '../../common/config.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { reachable } from '../roles/environment.js';
import { MDS_PORT, MGS_PORT, OST_PORT, S3_PORT, STATUS_PORT } from '../verbs/serve/ports.js';
import { choosePorts, type PortWish } from './ports.js';
import type { ChildSpec } from './supervisor.js';

/** What a directory remembers from one `up` to the next: how many OSTs, and where everything listened. */
const stateSchema = z.object({
  format: z.literal(1),
  osts: z.number().int().min(1),
  ports: z.record(z.string(), z.number().int()),
});
export type UpState = z.infer<typeof stateSchema>;

const STATE_FILE = 'up.json';
/** What a Unix socket's address holds, less the final zero. */
const SOCKET_PATH_BYTES = 107;

export interface UpPlan {
  readonly dir: string;
  readonly osts: number;
  readonly mgs: string;
  readonly mds: string;
  readonly statusUrl: string;
  readonly nbdSocket: string;
  readonly controlSocket: string;
  /** Over TCP as well, where it was asked for. */
  readonly nbdTcp: string | null;
  readonly ostListen: readonly string[];
  readonly http: string;
  readonly s3: string;
  readonly s3Url: string;
  readonly state: UpState;
}

/** @throws RawstorError BAD_DATA */
export function readState(dir: string): UpState | null {
  const file = join(dir, STATE_FILE);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new RawstorError('BAD_DATA', 'this file of `rawstor up` cannot be read', {
      where: file,
      hint: 'remove it: ports are then chosen anew; give --osts as before',
      cause,
    });
  }
}

/**
 * Files of others are neither written over (theirs may be a cluster.toml) nor mixed with ours.
 * @throws RawstorError CONFIG, OS_ERROR
 */
export function checkDirectory(dir: string): void {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw asRawstorError(error, dir);
  }
  if (names.includes(STATE_FILE) || existsSync(join(dir, 'mds', 'rawstor-mds.json'))) return;
  // An `up` that ended before it had a plan leaves the first two.
  const own = new Set(['lock', 'logs', 'lost+found']);
  const foreign = names.filter((name) => !own.has(name)).sort();
  if (foreign.length === 0) return;
  throw new RawstorError(
    'CONFIG',
    `the directory is not one of \`rawstor up\`: it holds other files (${foreign[0]})`,
    {
      where: dir,
      hint: 'give an empty or a new directory with --dir',
    },
  );
}

/** OSTs of the directory, when nothing remembers their number. */
function ostsFound(dir: string): number {
  let count = 0;
  while (existsSync(join(dir, `ost-${count + 1}`))) count++;
  return count;
}

/** @throws RawstorError USAGE, BUSY */
export async function makePlan(options: {
  dir: string;
  osts: number | undefined;
  host: string;
  port: number | undefined;
  nbdPort: number | undefined;
}): Promise<UpPlan> {
  const { dir, host } = options;
  const nbdSocket = join(dir, 'nbd.sock');
  const controlSocket = join(dir, 'nbd-control.sock');
  if (Buffer.byteLength(controlSocket) > SOCKET_PATH_BYTES) {
    throw new RawstorError(
      'USAGE',
      `the path is too long for a Unix socket: ${SOCKET_PATH_BYTES} bytes at most`,
      {
        where: controlSocket,
        hint: 'give a shorter directory with --dir',
      },
    );
  }
  const before = readState(dir);
  const present = Math.max(before?.osts ?? 0, ostsFound(dir));
  const osts = options.osts ?? (present > 0 ? present : 3);
  if (osts < present) {
    throw new RawstorError('USAGE', `this directory has ${present} OSTs, they cannot become ${osts}`, {
      where: '--osts',
      hint: `leave --osts out, or give ${present} or more`,
    });
  }
  const names = ['mgs', 'mds', 'http', 's3', ...Array.from({ length: osts }, (_, i) => `ost-${i + 1}`)];
  const usual = [
    MGS_PORT,
    MDS_PORT,
    STATUS_PORT,
    S3_PORT,
    ...Array.from({ length: osts }, (_, i) => OST_PORT + i),
  ];
  const wishes = names.map((name, i): PortWish => {
    if (options.port !== undefined) return { name, demanded: options.port + usual[i]! - MGS_PORT, liked: [] };
    const last = before?.ports[name];
    return { name, liked: last === undefined ? [usual[i]!] : [last, usual[i]!] };
  });
  const chosen = await choosePorts(host, wishes, '--port');
  if (options.nbdPort !== undefined) {
    const otherwise = 'NBD is on the Unix socket then';
    await choosePorts(host, [{ name: 'nbd', demanded: options.nbdPort, liked: [], otherwise }], '--nbd-port');
  }
  const shown = host.includes(':') ? `[${host}]` : host;
  const addresses = chosen.map((port) => `tcp://${shown}:${port}`);
  return {
    dir,
    osts,
    mgs: addresses[0]!,
    mds: addresses[1]!,
    http: addresses[2]!,
    s3: addresses[3]!,
    s3Url: reachable([addresses[3]!])[0]!.replace(/^tcp:/, 'http:'),
    statusUrl: `${reachable([addresses[2]!])[0]!.replace(/^tcp:/, 'http:')}/`,
    nbdSocket,
    controlSocket,
    nbdTcp: options.nbdPort === undefined ? null : `tcp://${shown}:${options.nbdPort}`,
    ostListen: addresses.slice(4),
    state: { format: 1, osts, ports: Object.fromEntries(names.map((name, i) => [name, chosen[i]!])) },
  };
}

export function stateFile(plan: UpPlan): { path: string; text: string } {
  return { path: join(plan.dir, STATE_FILE), text: `${JSON.stringify(plan.state, null, 2)}\n` };
}

/** The location that every command finds by itself from the directory above. */
export function clusterFile(plan: UpPlan): { path: string; text: string } {
  const quoted = (values: readonly string[]) =>
    `[${values.map((value) => JSON.stringify(value)).join(', ')}]`;
  const nbd = [`unix:${plan.nbdSocket}`, ...reachable(plan.nbdTcp === null ? [] : [plan.nbdTcp])];
  const text = [
    '# Written by `rawstor up` at each start.',
    `mgs = ${quoted(reachable([plan.mgs]))}`,
    `mds = ${quoted(reachable([plan.mds]))}`,
    '',
    '[gateway]',
    `nbd = ${quoted(nbd)}`,
    `control = ${JSON.stringify(plan.controlSocket)}`,
    `status-url = ${JSON.stringify(plan.statusUrl)}`,
    '',
  ].join('\n');
  return { path: join(plan.dir, CLUSTER_FILE), text };
}

/** Whether some OST of the directory has met its cluster. */
function hasCluster({ dir, osts }: UpPlan): boolean {
  return Array.from({ length: osts }, (_, i) => join(dir, `ost-${i + 1}`, 'rawstor-ost.json')).some(
    (file) => {
      try {
        return (JSON.parse(readFileSync(file, 'utf8')) as { clusterId?: unknown }).clusterId !== '';
      } catch {
        return false;
      }
    },
  );
}

/** The servers in the order in which they are started. */
/** @param keys options of the gateways that open encrypted volumes and buckets */
export function childSpecs(
  plan: UpPlan,
  keys: readonly string[],
  minUploadRate: number,
): {
  first: ChildSpec[];
  osts: ChildSpec[];
  gateway: ChildSpec;
  s3: ChildSpec;
} {
  const { dir } = plan;
  const location = ['--config', join(dir, CLUSTER_FILE)];
  const spec = (name: string, args: string[]): ChildSpec => ({
    name,
    args: ['serve', ...args, ...location],
    logFile: join(dir, 'logs', `${name}.log`),
  });
  const existing = hasCluster(plan) ? ['--existing'] : [];
  const nbd = plan.nbdTcp === null ? [] : ['--listen', plan.nbdTcp];
  return {
    first: [
      spec('mgs', ['mgs', '--dir', join(dir, 'mgs'), '--listen', plan.mgs, '--http-listen', plan.http]),
      // An MDS that has lost its directory must not begin anew beside OSTs full of volumes.
      {
        ...spec('mds', ['mds', '--dir', join(dir, 'mds'), '--listen', plan.mds, ...existing]),
        againArgs: ['--existing'],
      },
    ],
    osts: plan.ostListen.map((address, i) => {
      const name = `ost-${i + 1}`;
      // Each a failure domain of its own, so that replicas work on one machine.
      const args = ['ost', '--dir', join(dir, name), '--listen', address, '--label', `host=up-${i + 1}`];
      return spec(name, args);
    }),
    gateway: {
      ...spec('nbd', [
        'nbd',
        '--listen',
        `unix:${plan.nbdSocket}`,
        ...nbd,
        '--control',
        plan.controlSocket,
        ...keys,
      ]),
      // However long the MDS is away: started again and again, it would come later than guests wait for it.
      againArgs: ['--timeout', '500h'],
    },
    s3: {
      ...spec('s3', [
        's3',
        '--listen',
        plan.s3,
        '--replicas',
        String(Math.min(2, plan.osts)),
        '--min-upload-rate',
        String(minUploadRate),
        ...keys,
      ]),
      againArgs: ['--timeout', '500h'],
    },
  };
}
