import { type ChildProcess, fork } from 'node:child_process';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Batch, BatchDone } from '../seeds.js';
import { applyEdit, type Mutant } from './mutant.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** A history that takes this long turns in a circle without time going by. */
const HANGS_MS = 60_000;
/** Those with clones take several times as long as others. */
const SNAPSHOTS_HANG_MS = 300_000;

export interface Catch {
  readonly seed: number;
  readonly violation: string;
}

/** A copy of the sources with one bug planted, and a process that runs histories on it. */
export class Planted {
  private readonly folder: string;
  private child: ChildProcess | null = null;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws Error when the text to be replaced is not in the source */
  static async plant({ name, edits }: Mutant): Promise<Planted> {
    // Inside the repository, so that packages are found.
    const folder = join(
      ROOT,
      '.cache',
      'mutants',
      `${process.pid}-${name.replaceAll(/[^a-zA-Z0-9]+/g, '-')}`,
    );
    await mkdir(join(folder, 'test'), { recursive: true });
    await cp(join(ROOT, 'src'), join(folder, 'src'), { recursive: true });
    await cp(join(ROOT, 'test', 'sim'), join(folder, 'test', 'sim'), { recursive: true });
    await symlink(join(ROOT, 'build'), join(folder, 'build'));
    for (const edit of edits) {
      const path = join(folder, 'src', edit.file);
      await writeFile(path, applyEdit(await readFile(path, 'utf8'), edit, name));
    }
    return new Planted(folder);
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
    const worker = join(this.folder, 'test', 'sim', 'worker.ts');
    this.child ??= fork(worker, {
      cwd: ROOT,
      execArgv: ['--import', 'tsx'],
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
