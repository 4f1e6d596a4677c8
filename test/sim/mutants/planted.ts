import { type ChildProcess, fork } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleWorker, ROOT } from '../bundle.js';
import type { Batch, BatchDone } from '../seeds.js';
import { applyEdit, type Mutant } from './mutant.js';

/** A history that takes this long turns in a circle without time going by. */
const HANGS_MS = 60_000;
/** Those with clones take several times as long as others. */
const SNAPSHOTS_HANG_MS = 300_000;

export interface Catch {
  readonly seed: number;
  readonly violation: string;
}

/** The simulation with one bug planted, and a process that runs histories on it. */
export class Planted {
  private readonly folder: string;
  private readonly worker: string;
  private child: ChildProcess | null = null;

  private constructor(folder: string, worker: string) {
    this.folder = folder;
    this.worker = worker;
  }

  /** @throws Error when the text to be replaced is not in the source */
  static async plant({ name, edits }: Mutant): Promise<Planted> {
    const folder = join(
      ROOT,
      '.cache',
      'mutants',
      `${process.pid}-${name.replaceAll(/[^a-zA-Z0-9]+/g, '-')}`,
    );
    await mkdir(folder, { recursive: true });
    const changes = new Map<string, (source: string) => string>();
    for (const edit of edits) {
      const before = changes.get(edit.file) ?? ((source) => source);
      changes.set(edit.file, (source) => applyEdit(before(source), edit, name));
    }
    try {
      return new Planted(folder, await bundleWorker(folder, changes));
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** The first of these seeds that breaks a rule, or null. */
  async firstCatch(batch: Omit<Batch, 'firstOnly'>): Promise<Catch | null> {
    const done = await this.run({ ...batch, firstOnly: true });
    if (done === 'hangs')
      return { seed: batch.from, violation: 'turns in a circle (this seed or a later one)' };
    return done.failures[0] ?? null;
  }

  async remove(): Promise<void> {
    this.child?.kill('SIGKILL');
    await rm(this.folder, { recursive: true, force: true });
  }

  private run(batch: Batch): Promise<BatchDone | 'hangs'> {
    this.child ??= fork(this.worker, {
      cwd: ROOT,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const { child } = this;
    return new Promise((resolve, reject) => {
      let errors = '';
      const onErrors = (text: Buffer) => {
        errors = (errors + text).slice(-2000);
      };
      const onExit = (code: number | null) =>
        settle(() => reject(new Error(`ended with ${code}: ${errors}`)));
      const onMessage = (done: unknown) => settle(() => resolve(done as BatchDone));
      const timer = setTimeout(
        () => {
          this.child = null;
          settle(() => resolve('hangs'));
          child.kill('SIGKILL');
        },
        batch.snapshots ? SNAPSHOTS_HANG_MS : HANGS_MS,
      );
      const settle = (action: () => void) => {
        clearTimeout(timer);
        child.off('exit', onExit);
        child.off('message', onMessage);
        child.stderr!.off('data', onErrors);
        action();
      };
      child.once('exit', onExit);
      child.once('message', onMessage);
      child.stderr!.on('data', onErrors);
      child.send(batch);
    });
  }
}
