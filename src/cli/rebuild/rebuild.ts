import { resolve } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { keepFilesPrivate } from '../../common/private-files.js';
import type { DumpedMds, Finding, OstScan, RebuildPlan } from '../../mds/index.js';
import type { Context } from '../context.js';
import { linkOptions, ServerLink } from '../server-link.js';
import { Absent, checkWithout, isWithout } from './absent.js';
import { checkNoMds, findOsts, type Target } from './find-osts.js';
import type { RebuildOptions } from './options.js';
import { report } from './report.js';

/** OSTs asked at a time. */
const ASKED_AT_ONCE = 8;

/** Asks all OSTs, decides, tells, and writes the directory. @returns the exit code */
export async function rebuild(
  context: Context,
  options: RebuildOptions,
  dump: DumpedMds | null,
): Promise<number> {
  const { checkEmptyDirectory, makePlan, writeMdsDirectory } = await import('../../mds/index.js');
  keepFilesPrivate();
  const dir = resolve(options.dir);
  if (!options.dryRun) await checkEmptyDirectory(dir);
  await checkNoMds(context);
  const known = await targets(context, options, dump);
  const { scans, silent } = await scanAll(
    context,
    known.filter(({ ostId }) => !isWithout(options, ostId)),
  );
  if (scans.length === 0) {
    throw new RawstorError('UNAVAILABLE', 'no OST answered', {
      hint: 'start the OSTs: the metadata is on them',
    });
  }
  const plan = makePlan(scans, dump, {
    silent: [...silent, ...known.filter(({ ostId }) => isWithout(options, ostId))].flatMap(
      ({ ostId }) => ostId ?? [],
    ),
    restoreDoubtful: options.doubtful === 'restore',
    nowWallMs: context.clock.wallMs(),
  });
  checkWithout(plan, options);
  report(context, plan, options, dump !== null);
  const absent = new Absent(known, silent, context.clock.wallMs());
  for (const text of absent.passedOver(plan, options)) context.warn(text);
  const refusal = refuse(plan, absent, options);
  if (refusal !== null) throw refusal;
  if (options.dryRun) return 0;
  await writeMdsDirectory(dir, plan, context.clock.wallMs());
  context.note(`made ${dir}: start the MDS on it (rawstor serve mds --dir ${dir})`);
  return 0;
}

/** A dump knows where the OSTs of its time were. */
async function targets(context: Context, options: RebuildOptions, dump: DumpedMds | null): Promise<Target[]> {
  const dumped = (dump?.osts ?? [])
    .filter(({ removed }) => removed !== true)
    .map(({ ostId, addresses }) => ({ ostId, addresses, lastSeenWallMs: null }));
  if (dump === null || options.ost !== undefined) {
    return [...dumped, ...(await findOsts(context, options.ost))];
  }
  // Some may have moved or come since.
  const found = await findOsts(context, undefined).catch(() => []);
  return [...dumped, ...found];
}

async function scanAll(
  context: Context,
  asked: readonly Target[],
): Promise<{ scans: OstScan[]; silent: Target[] }> {
  const scans: OstScan[] = [];
  const unanswered = new Set<Target>();
  const waiting = [...asked];
  const one = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      const scan = await scanOne(context, target);
      if (scan === null) unanswered.add(target);
      else scans.push(scan);
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, one));
  const answered = new Set(scans.map(({ info }) => info.ostId));
  const addresses = new Set(scans.flatMap(({ info }) => info.addresses));
  // A dump and the MGS may name one server twice, and one of them an address of before. An answer from the address
  // of an OST is none of that OST: one that was started on an empty directory has the address of the one before.
  const silent = asked.filter((target) => {
    const { ostId, addresses: own } = target;
    if (ostId !== null) return !answered.has(ostId);
    return unanswered.has(target) && !own.some((each) => addresses.has(each));
  });
  return { scans, silent };
}

async function scanOne(context: Context, target: Target): Promise<OstScan | null> {
  const { scanOst } = await import('../../mds/index.js');
  try {
    const link = await openTarget(context, target);
    try {
      if (link.role !== 'ost') throw new RawstorError('PROTOCOL', `a ${link.role} answers here, not an OST`);
      return await scanOst(link, context.globals.timeout);
    } finally {
      link.close();
    }
  } catch (error) {
    const failure = asRawstorError(error, target.addresses.join(', '));
    if (failure.code === 'VERSION' || failure.code === 'NOT_SUPPORTED') throw failure;
    context.warn(`OST ${target.ostId ?? ''} at ${target.addresses.join(', ')}: ${failure.message}`);
    return null;
  }
}

/** Where another OST answers it is asked instead, for it may be known by nobody else. */
async function openTarget(context: Context, { ostId, addresses }: Target): Promise<ServerLink> {
  let failure = new RawstorError('UNAVAILABLE', 'no address to connect to');
  let other: ServerLink | null = null;
  for (const address of addresses) {
    try {
      const link = await ServerLink.open([address], linkOptions(context));
      if (ostId === null || link.serverId === ostId) {
        other?.close();
        return link;
      }
      other?.close();
      other = link;
    } catch (error) {
      failure = asRawstorError(error, address);
    }
  }
  if (other === null) throw failure;
  context.warn(`OST ${ostId} at ${addresses.join(', ')}: OST ${other.serverId} answers there`);
  return other;
}

/** Why nothing is written, where somebody has to decide first. */
function refuse(plan: RebuildPlan, absent: Absent, options: RebuildOptions): RawstorError | null {
  const blocking = absent.blocking(plan, options);
  if (blocking.length > 0) {
    const [one] = blocking;
    const who = blocking.length === 1 ? 'one OST' : `${blocking.length} OSTs`;
    const without = one?.ostId == null ? 'with --ost for all the others' : `with --without ${one.ostId}`;
    return new RawstorError('UNAVAILABLE', `${who} did not answer: nothing was written`, {
      where: blocking.map(({ text }) => text).join('; '),
      hint: `start ${blocking.length === 1 ? 'it' : 'them'}. Gone for good, go on as listed above ${without}, or with --allow-missing for all`,
    });
  }
  const doubtful = plan.findings.filter(({ fate }) => fate === 'doubtful' || fate === 'contradictory');
  if (options.doubtful !== undefined || doubtful.length === 0) return null;
  return new RawstorError('BAD_DATA', `${doubtful.length} volumes are doubtful: nothing was written`, {
    where: doubtful.map(({ name }: Finding) => name).join(', '),
    hint: 'decide with --doubtful restore (those that can be) or --doubtful leave (their data stays on the OSTs)',
  });
}
