import { asRawstorError, RawstorError } from '../../common/errors.js';
import { parseScrubRate } from '../../common/rates.js';
import { formatSizeBytes, MiB } from '../../common/units.js';
import { defineVerb } from '../command.js';
import type { Context } from '../context.js';
import { EXIT } from '../exit-codes.js';
import { findOst } from '../find-ost.js';
import { interruptible } from '../interrupt.js';
import { tableLines } from '../output.js';
import { repairObject } from '../scrub/repair.js';
import { type DamagedBlock, ScrubbedOst } from '../scrub/scrubbed-ost.js';
import { allOsts, type KnownOst, volumeInfo } from '../volumes.js';

const POLL_MS = 200;

interface Options {
  ost?: string;
  rate: number;
  cancel: boolean;
}

interface Row {
  ostId: string;
  checkedBytes: number;
  /** Found by this scrub. */
  badBlocks: number;
  /** Still damaged at its end. */
  damaged: DamagedBlock[];
  unsealedRegions: number;
  failure: string;
}

export const scrub = defineVerb<Options>({
  name: 'scrub',
  summary: 'verify the checksums of what is stored, and repair what is damaged',
  description:
    'Reads everything that was sealed from the disks and repairs damaged blocks from another replica; a volume that ' +
    'nobody uses is opened for that. OSTs do the same by themselves, slowly: see scrub-rate in cluster.toml. The exit ' +
    'code is 65 when damage is left that no replica can repair, and 75 when an OST could not be scrubbed.',
  arguments: [{ name: 'volume', help: 'name or id; default: all', optional: true }],
  options: [
    { flags: '--ost <id>', help: 'this OST alone; the end of its id is enough' },
    {
      flags: '--cancel',
      help: 'end scrubs that somebody asked for there instead, whoever it was',
      default: false,
    },
    {
      flags: '--rate <size>',
      help: 'bytes a second that each OST reads at most',
      parse: parseScrubRate,
      default: 100 * MiB,
      defaultText: '100M',
    },
  ],
  examples: [
    { command: 'rawstor scrub vm1', what: 'all replicas of a volume' },
    { command: 'rawstor scrub --ost 5601 --rate 50M', what: 'one disk, gently' },
  ],
  async run(context, [ref], options) {
    const { objectId, osts } = await targets(context, ref, options.ost);
    if (options.cancel) return await cancelAll(context, osts);
    return await interruptible(async (signal) => {
      const begun: ScrubbedOst[] = [];
      const rows: Row[] = [];
      try {
        for (const ost of osts) {
          try {
            begun.push(await ScrubbedOst.begin(context, ost, objectId, options.rate));
          } catch (error) {
            rows.push(emptyRow(ost.ostId, asRawstorError(error).toUserText()));
          }
        }
        await watch(context, begun, signal);
        rows.push(...(await outcome(context, begun, objectId, signal)));
      } finally {
        for (const ost of begun) ost.close();
      }
      const damaged = rows.some((row) => row.damaged.length > 0);
      context.output.one({ osts: rows }, () => describe(rows));
      for (const row of rows) if (row.failure !== '') context.warn(`OST ${row.ostId}: ${row.failure}`);
      if (damaged) return EXIT.DAMAGED;
      return rows.some((row) => row.failure !== '') ? EXIT.AGAIN : 0;
    });
  },
});

async function targets(
  context: Context,
  ref: string | undefined,
  ostId: string | undefined,
): Promise<{ objectId: string | null; osts: KnownOst[] }> {
  const cluster = await context.cluster();
  const { timeout } = context.globals;
  const chosen = ostId === undefined ? null : await findOst(context, cluster, ostId);
  const volume = ref === undefined ? null : await volumeInfo(cluster, ref, timeout);
  const members = new Set(volume?.members.map((member) => member.ostId));
  const known = chosen === null ? await allOsts(cluster, timeout) : [chosen];
  const osts = known.filter((ost) => volume === null || members.has(ost.ostId));
  if (osts.length > 0) return { objectId: volume?.id ?? null, osts };
  const what = chosen === null ? 'there is no OST' : `the OST has nothing of volume ${volume?.name}`;
  throw new RawstorError('NOT_FOUND', what, { where: chosen?.ostId, hint: 'see `rawstor-volume info`' });
}

async function cancelAll(context: Context, osts: readonly KnownOst[]): Promise<number> {
  const rows = await Promise.all(
    osts.map(async (ost) => {
      try {
        return { ostId: ost.ostId, cancelled: await ScrubbedOst.cancel(context, ost), failure: '' };
      } catch (error) {
        return { ostId: ost.ostId, cancelled: false, failure: asRawstorError(error).toUserText() };
      }
    }),
  );
  context.output.list(rows, [
    { header: 'OST', cell: (row) => row.ostId },
    { header: 'SCRUB', cell: (row) => (row.cancelled ? 'cancelled' : row.failure === '' ? 'none' : '?') },
  ]);
  for (const row of rows) if (row.failure !== '') context.warn(`OST ${row.ostId}: ${row.failure}`);
  return rows.every((row) => row.failure === '') ? 0 : EXIT.AGAIN;
}

/** Until all have ended, or gone. Ended early, the scrubs end with the connections. */
async function watch(context: Context, osts: readonly ScrubbedOst[], signal: AbortSignal): Promise<void> {
  let totalBytes = 0;
  let progress = context.progress('scrub', 0);
  try {
    for (;;) {
      const ended = await Promise.all(osts.map((ost) => ost.poll()));
      const sum = osts.reduce((bytes, { job }) => bytes + (job?.totalBytes ?? 0), 0);
      if (sum !== totalBytes) {
        progress.end();
        totalBytes = sum;
        progress = context.progress('scrub', totalBytes);
      }
      progress.update(osts.reduce((bytes, { job }) => bytes + (job?.doneBytes ?? 0), 0));
      if (ended.every((one) => one)) return;
      signal.throwIfAborted();
      await context.clock.sleep(POLL_MS);
    }
  } finally {
    progress.end();
  }
}

/** Repairs what can be, then looks at what is left. */
async function outcome(
  context: Context,
  osts: readonly ScrubbedOst[],
  objectId: string | null,
  signal: AbortSignal,
): Promise<Row[]> {
  const objects = new Set<string>();
  for (const ost of osts) for (const block of await ost.damage(objectId)) objects.add(block.objectId);
  for (const id of objects) await repairObject(context, id, osts, signal);
  return await Promise.all(
    osts.map(async (ost) => {
      const damaged = await ost.damage(objectId);
      return {
        ostId: ost.ostId,
        checkedBytes: ost.job?.checkedBytes ?? 0,
        badBlocks: ost.job?.badBlocks ?? 0,
        damaged,
        unsealedRegions: ost.job?.unsealedRegions ?? 0,
        failure: ost.failure,
      };
    }),
  );
}

function emptyRow(ostId: string, failure: string): Row {
  return { ostId, checkedBytes: 0, badBlocks: 0, damaged: [], unsealedRegions: 0, failure };
}

function describe(rows: readonly Row[]): string[] {
  const lines = tableLines(rows, [
    { header: 'OST', cell: (row) => row.ostId },
    { header: 'CHECKED', cell: (row) => formatSizeBytes(row.checkedBytes), right: true },
    { header: 'BAD BLOCKS', cell: (row) => String(row.badBlocks), right: true },
    { header: 'LEFT', cell: (row) => String(row.damaged.length), right: true },
    { header: 'NOT SEALED', cell: (row) => `${row.unsealedRegions} regions`, right: true },
  ]);
  const damaged = rows.flatMap((row) => row.damaged.map((block) => ({ ostId: row.ostId, ...block })));
  if (damaged.length === 0) return lines;
  return [
    ...lines,
    '',
    ...tableLines(damaged, [
      { header: 'DAMAGED VOLUME', cell: (block) => block.objectId },
      { header: 'CHUNK', cell: (block) => String(block.chunk), right: true },
      { header: 'AT', cell: (block) => String(block.offset), right: true },
      { header: 'OST', cell: (block) => block.ostId },
    ]),
  ];
}
