import { resolve } from 'node:path';
import { asRawstorError } from '../../common/errors.js';
import type { StageFigures } from '../../common/trace.js';
import type { Context } from '../context.js';
import { askForTrace } from '../gateway/trace.js';
import { interruptible } from '../interrupt.js';
import { OstLinks } from '../ost-links.js';
import { tableLines } from '../output.js';
import { allOsts, shortId } from '../volumes.js';
import { pause } from './pause.js';

/** `rawstor top --trace`. */

interface StageRow extends StageFigures {
  /** Short id of an OST, or the control socket of a gateway. */
  process: string;
}

interface Options {
  once: boolean;
  intervalMs: number;
  controls: readonly string[] | undefined;
}

/** Operations are followed a little longer than to the next look, so that a look that comes late misses none. */
const OVERLAP_MS = 2000;
const CLEAR = '\x1b[H\x1b[2J';

export async function watchStages(context: Context, options: Options): Promise<number> {
  const { once, intervalMs } = options;
  const { format } = context.output;
  const controls = controlsOf(context, options.controls);
  await interruptible(async (signal) => {
    const forMs = intervalMs + OVERLAP_MS;
    await look(context, controls, forMs);
    while (!signal.aborted) {
      await pause(context, intervalMs, signal);
      if (signal.aborted) break;
      const stages = await look(context, controls, once ? 0 : forMs);
      if (format === 'table' && !once && process.stdout.isTTY) process.stdout.write(CLEAR);
      context.output.one({ seconds: intervalMs / 1000, stages }, () => describe(stages));
      if (once || format === 'json') break;
    }
    // Nobody is left following; who cannot be asked ends by itself.
    await look(context, controls, 0);
  });
  return 0;
}

function controlsOf(context: Context, asked: readonly string[] | undefined): readonly string[] {
  if (asked !== undefined) return asked.map((path) => resolve(path));
  const place = context.location();
  const control = place.kind === 'config' ? place.config.gateway.control : undefined;
  return control === undefined ? [] : [control];
}

/** One that does not answer is told of, and left out. */
async function look(context: Context, controls: readonly string[], forMs: number): Promise<StageRow[]> {
  const cluster = await context.cluster();
  const { timeout } = context.globals;
  const osts = await allOsts(cluster, timeout);
  const links = new OstLinks(context, osts);
  try {
    const asked = [
      ...controls.map(async (path) => {
        const stages = await askForTrace(path, forMs, timeout).catch((error) => {
          context.note(asRawstorError(error).toUserText());
          return [];
        });
        return stages.map((stage) => ({ process: path, ...stage }));
      }),
      ...osts.map(async ({ ostId, alive }) => {
        const told = alive ? await links.call(ostId, 'ost.trace', { forMs }) : null;
        return (told?.stages ?? []).map((stage) => ({ process: shortId(ostId), ...stage }));
      }),
    ];
    return (await Promise.all(asked)).flat();
  } finally {
    links.close();
  }
}

function describe(stages: readonly StageRow[]): string[] {
  if (stages.length === 0) return ['nothing was asked for'];
  const us = (value: number) => value.toFixed(1);
  return tableLines(stages, [
    { header: 'PROCESS', cell: (row) => row.process },
    { header: 'WHERE', cell: (row) => row.site },
    { header: 'OPERATION', cell: (row) => row.kind },
    { header: 'STAGE', cell: (row) => row.stage },
    { header: 'COUNT', cell: (row) => String(row.count), right: true },
    { header: 'MEAN US', cell: (row) => us(row.meanUs), right: true },
    { header: 'P50', cell: (row) => us(row.p50Us), right: true },
    { header: 'P99', cell: (row) => us(row.p99Us), right: true },
  ]);
}
