import { RawstorError } from '../../../common/errors.js';
import type { Histogram } from '../../../common/histogram.js';
import { LIMITS } from '../../../common/limits.js';
import { systemRandom } from '../../../common/random.js';
import { formatSizeBytes, KiB } from '../../../common/units.js';
import { Load } from '../../bench/load.js';
import { defineVerb } from '../../command.js';
import { openVolume } from '../../gateway/let-go.js';
import { interruptible } from '../../interrupt.js';
import { KEY_OPTIONS } from '../../keys.js';
import { durationMs, size, wholeNumber, YES } from '../../options.js';
import { tableLines } from '../../output.js';

interface Options {
  rw: 'read' | 'write' | 'mix';
  sequential: boolean;
  blockSize: number;
  depth: number;
  duration: number;
  yes: boolean;
  force: boolean;
}

const WRITE_PART = { read: 0, write: 1, mix: 0.3 };

export const bench = defineVerb<Options>({
  name: 'bench',
  summary: 'measure a volume with a small load from this process',
  description:
    'Random 4 KiB blocks, unless told otherwise. Reads of what was never written are answered without touching ' +
    'a disk: write first. write and mix destroy the data of the volume.',
  arguments: [{ name: 'volume', help: 'name or id' }],
  options: [
    ...KEY_OPTIONS,
    { flags: '--rw <kind>', help: 'mix is 70 % reads', choices: ['read', 'write', 'mix'], default: 'read' },
    { flags: '--sequential', help: 'block after block instead of random ones', default: false },
    {
      flags: '--block-size <size>',
      help: 'bytes of a request',
      parse: size,
      default: 4 * KiB,
      defaultText: '4K',
    },
    { flags: '--depth <n>', help: 'requests under way at a time', parse: wholeNumber(1, 1024), default: 32 },
    { flags: '--duration <time>', help: 'how long', parse: durationMs, default: 10_000, defaultText: '10s' },
    { ...YES, help: 'destroy data without asking; needed where there is no terminal' },
    { flags: '-f, --force', help: 'the same', default: false },
  ],
  examples: [
    { command: 'rawstor-volume bench scratch --rw write', what: 'random 4 KiB writes for 10 s' },
    { command: 'rawstor-volume bench vm1 --depth 1 --duration 5s', what: 'read latency' },
  ],
  async run(context, [ref], options) {
    const { blockSize, depth } = options;
    if (blockSize === 0 || blockSize % LIMITS.sectorBytes !== 0 || blockSize > LIMITS.framePayloadBytes) {
      throw new RawstorError('USAGE', `a block of ${blockSize} bytes cannot be used`, {
        where: '--block-size',
        hint: `whole sectors of ${LIMITS.sectorBytes}, at most ${formatSizeBytes(LIMITS.framePayloadBytes)}`,
      });
    }
    if (options.rw !== 'read') {
      await context.confirmOverwrite(
        `Destroy the data of volume ${ref} by writing to it?`,
        options.yes || options.force,
      );
    }
    return await interruptible(async (signal) => {
      const volume = await openVolume(context, ref!);
      try {
        const spec = {
          writePart: WRITE_PART[options.rw],
          sequential: options.sequential,
          blockBytes: blockSize,
          depth,
          durationMs: options.duration,
        };
        const load = new Load(context.io(), volume, spec, systemRandom);
        const { reads, writes, elapsedMs } = await load.run(signal);
        const rows = [
          figures('read', reads, elapsedMs, blockSize),
          figures('write', writes, elapsedMs, blockSize),
        ].filter((row) => row.operations > 0);
        context.output.one({ volume: volume.object.name, blockSize, depth, elapsedMs, results: rows }, () =>
          table(rows),
        );
      } finally {
        await volume.close();
      }
      return 0;
    });
  },
});

type Figures = ReturnType<typeof figures>;

function figures(op: string, histogram: Histogram, elapsedMs: number, blockBytes: number) {
  const perSecond = histogram.count / (elapsedMs / 1000);
  return {
    op,
    operations: histogram.count,
    iops: Math.round(perSecond),
    bytesPerSecond: Math.round(perSecond * blockBytes),
    meanUs: Math.round(histogram.meanUs),
    p50Us: Math.round(histogram.quantileUs(0.5)),
    p99Us: Math.round(histogram.quantileUs(0.99)),
    p999Us: Math.round(histogram.quantileUs(0.999)),
    maxUs: Math.round(histogram.maxUs),
  };
}

function table(rows: readonly Figures[]): string[] {
  const column = (header: string, cell: (row: Figures) => string) => ({ header, cell, right: true });
  return tableLines(rows, [
    { header: '', cell: (row) => row.op },
    column('IOPS', (row) => String(row.iops)),
    column('BANDWIDTH', (row) => `${formatSizeBytes(row.bytesPerSecond)}/s`),
    column('MEAN us', (row) => String(row.meanUs)),
    column('p50', (row) => String(row.p50Us)),
    column('p99', (row) => String(row.p99Us)),
    column('p99.9', (row) => String(row.p999Us)),
    column('MAX', (row) => String(row.maxUs)),
  ]);
}
