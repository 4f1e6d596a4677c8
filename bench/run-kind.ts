import { rmSync } from 'node:fs';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { asRawstorError, RawstorError } from '../src/common/errors.js';
import { type Kind, specOf } from './kinds.js';
import { fill } from './load.js';
import type { BenchOptions } from './options.js';
import { startRawstor } from './ours/cluster.js';
import type { KindReport } from './report.js';
import { runCase } from './run-case.js';
import { estimateMinutes, type Settings, settingsOf } from './settings.js';
import type { Case, StartSubject, Subject } from './types.js';

const SERVER_CPU = 0;
const LOAD_CPU = 1;

/** Of a kind: the one that the others are held against comes first. */
function sidesOf(kind: Kind, options: BenchOptions): [string, StartSubject][] {
  const { ours, peers } = specOf(kind);
  const { subject } = options;
  const first = subject === 'rawstor' ? ours : peers[subject];
  if (first === undefined) return [];
  const others = Object.entries(peers).filter(
    ([name]) => name !== subject && (options.peers === undefined || options.peers.includes(name)),
  );
  const sides: [string, StartSubject][] = [[subject, first], ...others];
  if (options.baseline !== undefined && (kind === 'local' || kind === 'replicated3')) {
    sides.push(['baseline', startRawstor(kind, { root: options.baseline })]);
  }
  return sides;
}

/**
 * Brings all sides of a kind up, prepares them alike, and runs every case; null where the subject is no side of it.
 * @throws RawstorError where the first side cannot run
 */
export async function runKind(
  kind: Kind,
  cases: readonly Case[],
  options: BenchOptions,
): Promise<KindReport | null> {
  const spec = specOf(kind);
  const sides = sidesOf(kind, options);
  if (sides.length === 0) return null;
  const plan = await settingsOf(kind, sides.length, options);
  const pinned = spec.pinned && cpus().length > LOAD_CPU;
  const minutes = estimateMinutes(kind, sides.length, cases, plan);
  say(kind, `${sides.length} servers, ${cases.length} cases, about ${minutes} min`);
  const scratch = await mkdtemp(join(plan.dir, `${kind}-`));
  const removeScratch = () => rmSync(scratch, { recursive: true, force: true });
  process.once('exit', removeScratch);
  const report: KindReport = { kind, title: spec.title, notes: [], skipped: [], results: [] };
  const subjects: Subject[] = [];
  try {
    for (const [index, [name, start]] of sides.entries()) {
      const dir = join(scratch, `${index}`);
      await mkdir(dir);
      const settings = { dir, sizeBytes: plan.sizeBytes, ...(pinned ? { cpu: SERVER_CPU } : {}) };
      const subject = await ready(kind, start, settings).catch((error) => {
        if (index === 0) throw error;
        const { message, hint } = asRawstorError(error);
        const reason = hint === undefined ? message : `${message} (${hint})`;
        report.skipped.push({ peer: name, reason });
        say(kind, `skipped: ${name}: ${reason}`);
        return null;
      });
      if (subject !== null) subjects.push(subject);
    }
    for (const [index, load] of cases.entries()) {
      const result = await runCase(subjects, load, pinned ? { ...plan, loadCpu: LOAD_CPU } : plan);
      report.results.push(result);
      const rates = result.subjects.map(
        (one) => `${one.subject} ${Math.round(one.operationsPerSecond.median)}/s`,
      );
      const failed = result.failed.map(({ subject, reason }) => `${subject} FAILED (${reason})`);
      say(kind, `${index + 1}/${cases.length} ${load.name}: ${[...rates, ...failed].join(', ')}`);
    }
    report.notes = notesOf(plan, pinned, subjects);
  } finally {
    for (const subject of subjects.reverse()) await subject.stop();
    removeScratch();
    process.off('exit', removeScratch);
  }
  return report;
}

async function ready(
  kind: Kind,
  start: StartSubject,
  settings: Parameters<StartSubject>[0],
): Promise<Subject> {
  const subject = await start(settings);
  try {
    say(kind, `preparing ${subject.name}`);
    if (subject.prepare !== undefined) await subject.prepare();
    else await fill(subject.uri, undefined, subject.fillBlockBytes);
    return subject;
  } catch (error) {
    await subject.stop();
    throw new RawstorError(
      'UNAVAILABLE',
      `it starts, and cannot be filled: ${asRawstorError(error).message}`,
    );
  }
}

function notesOf(plan: Settings, pinned: boolean, subjects: readonly Subject[]): string[] {
  return [
    `${plan.rounds} interleaved rounds, random cases ${plan.seconds.random} s, sequential ones ${plan.seconds.sequential} s`,
    `volumes of ${plan.sizeBytes / 2 ** 20} MiB`,
    ...subjects.map(
      ({ name, fillBlockBytes = 4096 }) =>
        `${name}: filled through its server in pieces of ${fillBlockBytes / 1024} KiB`,
    ),
    ...subjects.flatMap(({ name, remark }) => (remark === undefined ? [] : [`${name}: ${remark}`])),
    ...plan.remarks,
    pinned ? `servers on CPU ${SERVER_CPU}, load on CPU ${LOAD_CPU}` : 'servers and load on all CPUs',
  ];
}

function say(kind: Kind, text: string): void {
  console.error(`${kind}: ${text}`);
}
