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
  const silent: Target[] = [];
  const waiting = [...asked];
  const one = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
      const scan = await scanOne(context, target);
      if (scan === null) silent.push(target);
      else scans.push(scan);
    }
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE }, one));
  const answered = new Set(scans.map(({ info }) => info.ostId));
  const addresses = new Set(scans.flatMap(({ info }) => info.addresses));
  // A dump and the MGS may name one server twice, and one of them an address of before.
  const away = silent.filter(({ ostId, addresses: own }) =>
    ostId === null ? !own.some((each) => addresses.has(each)) : !answered.has(ostId),
  );
  return { scans, silent: away };
}

async function scanOne(context: Context, target: Target): Promise<OstScan | null> {
  const { scanOst } = await import('../../mds/index.js');
  try {
    const link = await ServerLink.open(target.addresses, linkOptions(context));
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
