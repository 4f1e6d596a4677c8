import { existsSync, readdirSync } from 'node:fs';
import { isIP } from 'node:net';
import { join, resolve } from 'node:path';
import { Cluster } from '../../client/index.js';
import { writeFileAtomic } from '../../common/atomic-file.js';
import { makeDirectory } from '../../common/directories.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { runService } from '../../common/lifecycle.js';
import { LIMITS } from '../../common/limits.js';
import { isOpenToOthers, keepFilesPrivate } from '../../common/private-files.js';
import { GiB, parseSizeBytes } from '../../common/units.js';
import { type DirectoryLock, lockDirectory } from '../../io/index.js';
import type { CreateSpec, ObjectInfo } from '../../protocol/index.js';
import { defineVerb } from '../command.js';
import type { Context } from '../context.js';
import { EXIT } from '../exit-codes.js';
import { KEY_OPTIONS, type KeyOptions, keyArguments } from '../keys.js';
import { openLog } from '../logging.js';
import { checkNewName } from '../new-name.js';
import { port, wholeNumber } from '../options.js';
import { checkDirectory, childSpecs, clusterFile, makePlan, stateFile, type UpPlan } from '../up/plan.js';
import { ensureS3Key, s3EnvFile } from '../up/s3-key.js';
import { upSummary } from '../up/summary.js';
import { Supervisor } from '../up/supervisor.js';
import { allOsts, findVolume, makeVolume } from '../volumes.js';
import { MIN_UPLOAD_RATE } from './serve/upload-rate.js';
import { createSpec } from './volume/create.js';

interface VolumeWish {
  name: string;
  sizeBytes: number;
  replicas?: number;
}

interface Options extends KeyOptions {
  osts?: number;
  dir: string;
  listen: string;
  port?: number;
  nbdPort?: number;
  volume?: VolumeWish[] | false;
  minUploadRate: number;
}

const DEFAULT_VOLUME: VolumeWish = { name: 'vm1', sizeBytes: 10 * GiB };
const POLL_MS = 50;
const HEALTHY_MS = 60_000;
const FORMER_MS = 25_000;
const STOP_MS = 90_000;

export const up = defineVerb<Options>({
  name: 'up',
  summary: 'run a whole cluster on this machine, in the foreground',
  description:
    'Every server is a process of its own; one that ends is started again. Data is kept when this ends. Without ' +
    '--port the usual ports are used where they are free, others where not.',
  options: [
    {
      flags: '--osts <n>',
      help: 'how many OSTs; default: as before, 3 the first time',
      parse: wholeNumber(1, 64),
    },
    { flags: '--dir <path>', help: 'directory for data, logs and sockets', default: '.rawstor' },
    { flags: '--listen <host>', help: 'IP address that all servers listen on', default: '127.0.0.1' },
    {
      flags: '--port <base>',
      help: 'MGS on it, MDS +1, status page +2, S3 +3, OSTs +7 and up (7770: OSTs on 7777)',
      parse: port,
    },
    {
      flags: '--nbd-port <port>',
      help: 'NBD over TCP too, usually 10809; a Unix socket is there always',
      parse: port,
    },
    {
      flags: '--volume <name:size[:replicas]>',
      help: 'volume that is to exist, repeatable; vm1:10G when there is none',
      parse: volumeWish,
    },
    { flags: '--no-volume', help: 'create no volume' },
    MIN_UPLOAD_RATE,
    ...KEY_OPTIONS,
  ],
  examples: [
    { command: 'rawstor up', what: 'three OSTs and a volume vm1, data in ./.rawstor' },
    { command: 'rawstor up --osts 5 --dir /srv/rawstor --volume db:100G:3', what: 'larger, elsewhere' },
  ],
  async run(context, _args, options) {
    if (isIP(options.listen) === 0) {
      throw new RawstorError('USAGE', `'${options.listen}' is not an IP address`, { where: '--listen' });
    }
    keepFilesPrivate();
    const log = openLog('up', context.globals.verbose ? 'debug' : 'warn');
    const code = await runService((stopping) => start(context, options, stopping), {
      log,
      stopTimeoutMs: STOP_MS,
    });
    context.note(`rawstor: ended; the data stays in ${resolve(options.dir)}`);
    return code;
  },
});

async function start(context: Context, options: Options, stopping: AbortSignal) {
  const wishes = volumeSpecs(options);
  const dir = resolve(options.dir);
  const lock = await takeDirectory(context, dir);
  warnOfStores(context, dir);
  const say = (text: string) => context.note(`rawstor: ${text}`);
  const supervisor = new Supervisor(context.clock, say);
  const close = async () => {
    try {
      await supervisor.stop();
    } finally {
      lock.release();
    }
  };
  // Whoever has not ended when this process gives up would be left behind: a stuck one does not see that.
  process.on('exit', (code) => {
    if (code === EXIT.AGAIN) supervisor.kill();
  });
  const run = async () => {
    const { osts, listen, port: base, nbdPort } = options;
    const plan = await makePlan({ dir, osts, host: listen, port: base, nbdPort });
    for (const file of [stateFile(plan), clusterFile(plan)])
      await writeFileAtomic(file.path, file.text, 0o600);
    const specs = childSpecs(plan, keyArguments(options), options.minUploadRate);
    for (const spec of specs.first) await supervisor.start(spec);
    await Promise.all(specs.osts.map((spec) => supervisor.start(spec)));
    const volumes = await prepare(context, plan, wishes(plan));
    await Promise.all([specs.gateway, specs.s3].map((spec) => supervisor.start(spec)));
    tell(context, plan, volumes, supervisor);
    return { close };
  };
  try {
    return await Promise.race([run(), aborted(stopping)]);
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws RawstorError BUSY when this is to stop */
function aborted(stopping: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = () => reject(new RawstorError('BUSY', 'it is to stop before it has started'));
    if (stopping.aborted) stop();
    else stopping.addEventListener('abort', stop, { once: true });
  });
}

/** A new directory, and all in it, is for its owner only; one that is there stays as it is. */
function warnOfStores(context: Context, dir: string): void {
  const stores = readdirSync(dir).filter((name) => /^(mds|mgs|ost-\d+)$/.test(name));
  if (!stores.some((name) => isOpenToOthers(join(dir, name)))) return;
  context.warn(`other users of this machine can read what is stored in ${dir}: chmod 700 ${dir}`);
}

/** @throws RawstorError BUSY when another `up` runs there */
async function takeDirectory(context: Context, dir: string): Promise<DirectoryLock> {
  checkDirectory(dir);
  try {
    for (const each of [dir, join(dir, 'logs')]) makeDirectory(each);
  } catch (error) {
    throw asRawstorError(error, dir);
  }
  let lock: DirectoryLock;
  try {
    lock = lockDirectory(dir);
  } catch (error) {
    if (!(error instanceof RawstorError) || error.code !== 'BUSY') throw error;
    throw new RawstorError('BUSY', `a cluster is running there already: ${error.message}`, {
      where: dir,
      hint: 'use that one (`rawstor status`), end it with Ctrl-C, or give another directory with --dir',
      cause: error,
    });
  }
  try {
    await outliveFormer(context, dir);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Servers whose parent was killed end by themselves, a moment later. */
async function outliveFormer(context: Context, dir: string): Promise<void> {
  const giveUpMs = context.clock.nowMs() + FORMER_MS;
  const names = ['mgs', 'mds', ...Array.from({ length: 64 }, (_, i) => `ost-${i + 1}`)];
  let said = false;
  for (const path of names.map((name) => join(dir, name)).filter((each) => existsSync(each))) {
    for (;;) {
      try {
        lockDirectory(path).release();
        break;
      } catch (error) {
        const failure = asRawstorError(error);
        if (failure.code !== 'BUSY' || context.clock.nowMs() > giveUpMs) throw failure;
      }
      if (!said) context.note('rawstor: waiting for the servers of a cluster that was killed to end');
      said = true;
      await context.clock.sleep(POLL_MS);
    }
  }
}

async function hasVolumes(cluster: Cluster, timeoutMs: number): Promise<boolean> {
  const { objects } = await cluster.mds.call('mds.list', { after: '', limit: 1 }, timeoutMs);
  return objects.length > 0;
}

/** Waits until the MDS knows every OST, then makes the volumes that are not there yet. */
async function prepare(context: Context, plan: UpPlan, specs: readonly CreateSpec[]): Promise<ObjectInfo[]> {
  const { clock, log } = context;
  const location = clusterFile(plan).path;
  const cluster = await Cluster.connect({ io: context.io(), clock, log, location, name: 'rawstor up' });
  const { timeout } = context.globals;
  try {
    const giveUpMs = clock.nowMs() + HEALTHY_MS;
    for (;;) {
      const alive = (await allOsts(cluster, timeout)).filter((ost) => ost.alive).length;
      if (alive >= plan.osts) break;
      if (clock.nowMs() > giveUpMs && alive > 0 && (await hasVolumes(cluster, timeout))) {
        // What is there can be served: an OST that was removed, or is broken, must not hold that up.
        const missing = plan.osts - alive;
        context.note(
          `rawstor: ${missing} of ${plan.osts} OSTs did not register, going on without: see ${plan.dir}/logs/ost-*.log`,
        );
        break;
      }
      if (clock.nowMs() > giveUpMs) {
        throw new RawstorError('TIMEOUT', `only ${alive} of ${plan.osts} OSTs have registered`, {
          where: plan.dir,
          hint: 'see logs/ in that directory',
        });
      }
      await clock.sleep(POLL_MS);
    }
    const volumes: ObjectInfo[] = [];
    for (const spec of specs) {
      const found = await findVolume(cluster, spec.name, timeout);
      volumes.push(found ?? (await makeVolume(context, cluster, spec)));
    }
    await ensureS3Key(plan, cluster, context);
    return volumes;
  } finally {
    await cluster.close();
  }
}

/**
 * What is asked for is checked before anything is started or written; how many replicas there are without a wish
 * depends on the plan. @throws RawstorError USAGE
 */
function volumeSpecs(options: Options): (plan: UpPlan) => CreateSpec[] {
  const wishes = options.volume === false ? [] : (options.volume ?? [DEFAULT_VOLUME]);
  for (const wish of wishes) specOf(wish, wish.replicas ?? 1);
  return ({ osts }) => wishes.map((wish) => specOf(wish, wish.replicas ?? Math.min(2, osts)));
}

function specOf(wish: VolumeWish, replicas: number): CreateSpec {
  checkNewName(wish.name);
  return createSpec(wish.name, wish.sizeBytes, '--volume', {
    replicas,
    minReplicas: 1,
    chunkSize: LIMITS.chunkSizeDefaultBytes,
    stripeWidth: 1,
    failureDomain: 'host',
    onDegraded: 'pause',
  });
}

function tell(context: Context, plan: UpPlan, volumes: readonly ObjectInfo[], supervisor: Supervisor): void {
  const pids = supervisor.pids();
  const facts = {
    dir: plan.dir,
    location: clusterFile(plan).path,
    mgs: plan.mgs,
    mds: plan.mds,
    statusUrl: plan.statusUrl,
    nbd: [`unix:${plan.nbdSocket}`, ...(plan.nbdTcp === null ? [] : [plan.nbdTcp])],
    s3: plan.s3Url,
    s3Env: s3EnvFile(plan),
    osts: plan.ostListen,
    volumes: volumes.map((volume) => volume.name),
    pids,
  };
  context.output.one(facts, () => upSummary(plan, volumes, pids));
}

/** @throws RawstorError USAGE */
function volumeWish(text: string, before: unknown): VolumeWish[] {
  const [name, size, replicas, ...more] = text.split(':');
  if (!name || !size || more.length > 0) {
    throw new RawstorError('USAGE', `'${text}' is not NAME:SIZE or NAME:SIZE:REPLICAS`);
  }
  const wish: VolumeWish = { name, sizeBytes: parseSizeBytes(size) };
  if (replicas !== undefined) wish.replicas = wholeNumber(1, LIMITS.replicas)(replicas);
  return [...(Array.isArray(before) ? (before as VolumeWish[]) : []), wish];
}
