import { existsSync } from 'node:fs';
import { readFile, rm, truncate } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomic } from '../../common/atomic-file.js';
import type { Clock } from '../../common/clock.js';
import { partialName, withPartialFile } from './partial-file.js';

/** How often what is written is made durable and noted. */
const PERIOD_MS = 2000;

/** What does not change while it is copied: a snapshot. */
const sourceSchema = z.object({ volumeId: z.string(), version: z.number(), sizeBytes: z.number() });
const noteSchema = sourceSchema.extend({ doneBytes: z.number().int().nonnegative() });
export type UnchangingSource = z.infer<typeof sourceSchema>;

/** How far a copy to a file has come, kept beside the file: everything before is in it, and durable. */
export class Checkpoints {
  private readonly path: string;
  private readonly source: UnchangingSource;
  private readonly clock: Clock;
  private lastMs: number;

  constructor(path: string, source: UnchangingSource, clock: Clock) {
    this.path = path;
    this.source = source;
    this.clock = clock;
    this.lastMs = clock.nowMs();
  }

  /** Time for the next one, which is then the asker's to make. */
  due(): boolean {
    const nowMs = this.clock.nowMs();
    if (nowMs - this.lastMs < PERIOD_MS) return false;
    this.lastMs = nowMs;
    return true;
  }

  /** Once it is durable. */
  async save(doneBytes: number): Promise<void> {
    this.lastMs = this.clock.nowMs();
    await writeFileAtomic(this.path, `${JSON.stringify({ ...this.source, doneBytes })}\n`);
  }
}

/**
 * As `withPartialFile`, of which an interrupted one can be gone on with.
 * @param resume goes on with what an earlier one has left of the same, and leaves what it has made when it fails
 * @param write from `doneBytes` on
 */
export async function withResumableFile(
  file: string,
  source: UnchangingSource,
  { resume, clock }: { resume: boolean; clock: Clock },
  write: (partial: string, doneBytes: number, checkpoints: Checkpoints) => Promise<void>,
): Promise<void> {
  const note = `${partialName(file)}.done`;
  const doneBytes = resume && existsSync(partialName(file)) ? await readNote(note, source) : 0;
  try {
    // It goes first: it never tells of another file than it was made for.
    if (doneBytes === 0) await rm(note, { force: true });
    await withPartialFile(
      file,
      async (partial) => {
        if (doneBytes === 0) await truncate(partial);
        await write(partial, doneBytes, new Checkpoints(note, source, clock));
      },
      { keep: resume },
    );
    await rm(note, { force: true });
  } catch (error) {
    if (!resume) await rm(note, { force: true });
    throw error;
  }
}

/** @returns 0 where there is none of this source */
async function readNote(path: string, source: UnchangingSource): Promise<number> {
  const text = await readFile(path, 'utf8').catch(() => '');
  try {
    const { doneBytes, ...noted } = noteSchema.parse(JSON.parse(text));
    const { volumeId, version, sizeBytes } = source;
    const same = noted.volumeId === volumeId && noted.version === version && noted.sizeBytes === sizeBytes;
    return same && doneBytes <= sizeBytes ? doneBytes : 0;
  } catch {
    return 0;
  }
}
