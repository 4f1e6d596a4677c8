import { existsSync } from 'node:fs';
import { readFile, rm, truncate } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomic } from '../../common/atomic-file.js';
import type { Clock } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import type { Logger } from '../../common/log.js';
import { alone } from './lone-file.js';
import { makeFile, partialName } from './partial-file.js';

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
  private readonly log: Logger;
  private lastMs: number;
  private saving = false;

  constructor(path: string, source: UnchangingSource, clock: Clock, log: Logger) {
    this.path = path;
    this.source = source;
    this.clock = clock;
    this.log = log;
    this.lastMs = clock.nowMs();
  }

  /**
   * Makes and notes the next one where it is time for it, one at a time: a sync may take longer than from one to the next.
   * @param makeDurable tells how far what it has made durable goes
   */
  async look(makeDurable: () => Promise<number>): Promise<void> {
    if (this.saving || this.clock.nowMs() - this.lastMs < PERIOD_MS) return;
    this.saving = true;
    try {
      await this.save(await makeDurable());
    } finally {
      this.lastMs = this.clock.nowMs();
      this.saving = false;
    }
  }

  /** Without it there is less to go on with, which is no reason to end a copy. */
  private async save(doneBytes: number): Promise<void> {
    try {
      await writeFileAtomic(this.path, `${JSON.stringify({ ...this.source, doneBytes })}\n`);
    } catch (error) {
      this.log.warn({ reason: asRawstorError(error).message }, 'how far the copy has come is not noted');
    }
  }
}

/**
 * As `withPartialFile`, of which an interrupted one can be gone on with.
 * @param resume goes on with what an earlier one has left of the same, and leaves what it has made when it fails
 * @param write from `doneBytes` on
 */
export function withResumableFile(
  file: string,
  source: UnchangingSource,
  { resume, clock, log }: { resume: boolean; clock: Clock; log: Logger },
  write: (partial: string, doneBytes: number, checkpoints: Checkpoints) => Promise<void>,
): Promise<void> {
  const partial = partialName(file);
  const note = `${partial}.done`;
  return alone(partial, async () => {
    const doneBytes = resume && existsSync(partial) ? await readNote(note, source) : 0;
    try {
      // It goes first: it never tells of another file than it was made for.
      if (doneBytes === 0) await rm(note, { force: true });
      const fill = async () => {
        if (doneBytes === 0) await truncate(partial);
        await write(partial, doneBytes, new Checkpoints(note, source, clock, log));
      };
      await makeFile(file, fill, { keep: resume });
      await rm(note, { force: true });
    } catch (error) {
      if (!resume) await rm(note, { force: true });
      throw error;
    }
  });
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
