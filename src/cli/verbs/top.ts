import { RawstorError } from '../../common/errors.js';
import { formatSizeBytes } from '../../common/units.js';
import { defineVerb } from '../command.js';
import type { Context } from '../context.js';
import { interruptible } from '../interrupt.js';
import { durationMs, list } from '../options.js';
import { OstLinks } from '../ost-links.js';
import { tableLines } from '../output.js';
import { pause } from '../top/pause.js';
import {
  type Look,
  type OstRates,
  ostRates,
  type RecoveryRow,
  recoveryRows,
  type Traffic,
} from '../top/rates.js';
import { watchStages } from '../top/stages.js';
import { allOsts, allVolumes, type KnownOst, shortId } from '../volumes.js';

interface Options {
  once: boolean;
  interval: number;
  trace: boolean;
  control?: string[];
}

interface OstRow {
  ostId: string;
  host: string;
  state: 'up' | 'draining' | 'down';
  /** Null where it did not answer twice. */
  rates: OstRates | null;
}

interface Top {
  seconds: number;
  osts: OstRow[];
  recovery: RecoveryRow[];
}

const CLEAR = '\x1b[H\x1b[2J';

export const top = defineVerb<Options>({
  name: 'top',
  summary: 'watch rates, operations in flight and what is being copied',
  description:
    'Each view is of the time between two looks. Rates are those of the OSTs, so a write counts once a replica; ' +
    'how far copies are is told by whoever has the volume open, every few seconds.',
  options: [
    {
      flags: '--trace',
      help: 'where the time of operations goes, stage by stage, instead of rates',
      default: false,
    },
    {
      flags: '--control <path>',
      help: 'with --trace: control socket of a gateway to ask too; repeatable (default: that of the configuration)',
      parse: list((text) => text),
    },
    { flags: '--once', help: 'one view, then the end; also with --output json', default: false },
    {
      flags: '--interval <time>',
      help: 'between two looks',
      parse: durationMs,
      default: 2000,
      defaultText: '2s',
    },
  ],
  examples: [
    { command: 'rawstor top', what: 'until Ctrl-C' },
    {
      command: "rawstor top --once --output json | jq '.recovery[]'",
      what: 'what is being copied, for programs',
    },
  ],
  async run(context, _args, { once, interval, trace, control }) {
    if (trace) return await watchStages(context, { once, intervalMs: interval, controls: control });
    if (control !== undefined) throw new RawstorError('USAGE', '--control is for --trace');
    const { format } = context.output;
    await interruptible(async (signal) => {
      let before = await look(context);
      while (!signal.aborted) {
        await pause(context, interval, signal);
        if (signal.aborted) return;
        const after = await look(context);
        const view = viewOf(before, after);
        if (format === 'table' && !once && process.stdout.isTTY) process.stdout.write(CLEAR);
        context.output.one(view, () => describe(view));
        if (once || format === 'json') return;
        before = after;
      }
    });
    return 0;
  },
});

/** Connections are made anew each time: an OST that was away is asked again. */
async function look(context: Context): Promise<Look & { osts: readonly KnownOst[] }> {
  const cluster = await context.cluster();
  const { timeout } = context.globals;
  const [osts, volumes] = await Promise.all([allOsts(cluster, timeout), allVolumes(cluster, timeout)]);
  const links = new OstLinks(context, osts);
  const traffic = new Map<string, Traffic>();
  try {
    await Promise.all(
      osts.map(async ({ ostId, alive }) => {
        const told = alive ? await links.call(ostId, 'ost.stat', {}) : null;
        if (told !== null) traffic.set(ostId, told.traffic);
      }),
    );
  } finally {
    links.close();
  }
  return { atMs: context.clock.nowMs(), traffic, volumes, osts };
}

function viewOf(before: Look, after: Look & { osts: readonly KnownOst[] }): Top {
  return {
    seconds: (after.atMs - before.atMs) / 1000,
    osts: after.osts.map((ost) => ({
      ostId: ost.ostId,
      host: ost.labels.host ?? '',
      state: ost.alive ? (ost.draining ? 'draining' : 'up') : 'down',
      rates: ostRates(before, after, ost.ostId),
    })),
    recovery: recoveryRows(before, after),
  };
}

function describe({ osts, recovery }: Top): string[] {
  const count = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(0));
  const bytes = (value: number | undefined) =>
    value === undefined ? '-' : `${formatSizeBytes(Math.round(value))}/s`;
  const lines = tableLines(osts, [
    { header: 'OST', cell: (row) => shortId(row.ostId) },
    { header: 'HOST', cell: (row) => row.host },
    { header: 'STATE', cell: (row) => row.state },
    { header: 'READS/S', cell: ({ rates }) => count(rates?.readsPerSecond), right: true },
    { header: 'READ', cell: ({ rates }) => bytes(rates?.readBytesPerSecond), right: true },
    { header: 'WRITES/S', cell: ({ rates }) => count(rates?.writesPerSecond), right: true },
    { header: 'WRITTEN', cell: ({ rates }) => bytes(rates?.writtenBytesPerSecond), right: true },
    { header: 'FLUSHES/S', cell: ({ rates }) => count(rates?.flushesPerSecond), right: true },
    { header: 'IN FLIGHT', cell: ({ rates }) => count(rates?.inFlight), right: true },
  ]);
  if (recovery.length === 0) return [...lines, '', 'nothing is being copied'];
  const copies = tableLines(recovery, [
    { header: 'VOLUME', cell: (row) => row.volume },
    { header: 'TO', cell: (row) => shortId(row.ostId) },
    { header: 'REGIONS', cell: (row) => `${row.regionsDone} of ${row.regionsTotal}`, right: true },
    { header: 'COPIED', cell: (row) => formatSizeBytes(row.copiedBytes), right: true },
    { header: 'RATE', cell: (row) => bytes(row.copiedBytesPerSecond), right: true },
    { header: 'LEFT', cell: ({ secondsLeft }) => leftText(secondsLeft), right: true },
  ]);
  return [...lines, '', ...copies];
}

function leftText(seconds: number | null): string {
  if (seconds === null) return '?';
  return seconds < 120 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}
