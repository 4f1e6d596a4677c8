import { asRawstorError, RawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import { Pace } from '../../common/pace.js';
import type { OstCore } from '../core.js';
import type { OstTuning } from '../tuning.js';
import { BackgroundLoop } from './background-loop.js';
import type { Checksums } from './checksums.js';
import { regionsOf } from './object-regions.js';
import { QuietAccess, unlessIo } from './quiet-access.js';
import { ScrubPass } from './scrub-pass.js';
import { readScrubState, type ScrubState, scrubStateChange } from './scrub-state.js';

const PERIOD_MS = 5000;
const NOTED_EVERY_MS = 60_000;
const OBJECTS_AT_ONCE = 256;
const REGION_BYTES = LIMITS.regionSizeBytes;

/** A scrub that somebody asked for. */
export interface ScrubJob {
  /** Null: of all objects. */
  readonly objectId: string | null;
  running: boolean;
  totalBytes: number;
  /** Of those, also what is holes or has no checksums. */
  doneBytes: number;
  checkedBytes: number;
  badBlocks: number;
  unsealedRegions: number;
  /** Why it ended early, '' where it did not. */
  failure: string;
}

/** Who asked for a scrub: with the connection it was asked over its job ends. */
export interface ScrubAsker {
  readonly gone: boolean;
}

/** Scrubs everything slowly in the background, and what is asked for at the rate asked for. */
export class ScrubRunner {
  job: ScrubJob | null = null;
  private asker: ScrubAsker | null = null;
  private cancelled = false;
  private readonly core: OstCore;
  private readonly checksums: Checksums;
  private readonly tuning: OstTuning;
  private readonly loop: BackgroundLoop;
  private jobDone: Promise<void> = Promise.resolve();
  private state: ScrubState | null = null;
  private notedAtMs = 0;

  constructor(core: OstCore, checksums: Checksums, tuning: OstTuning) {
    this.core = core;
    this.checksums = checksums;
    this.tuning = tuning;
    this.loop = new BackgroundLoop(core, 'the background scrub was cut short', PERIOD_MS, () => this.round());
  }

  start(): void {
    this.state = readScrubState(this.core.records);
    if (this.tuning.scrubBytesPerSec > 0) this.loop.start();
  }

  async close(): Promise<void> {
    await Promise.all([this.loop.close(), this.jobDone]);
  }

  /** When the last scrub of everything in the background ended; null for never. */
  get finishedWallMs(): number | null {
    return this.state?.finishedWallMs ?? null;
  }

  /** Begins a scrub of one object or of all, after one that is ending. @throws RawstorError BUSY */
  async begin(objectId: string | null, bytesPerSec: number, asker: ScrubAsker): Promise<void> {
    while (this.job?.running) {
      if (this.endsEarly() === '') {
        throw new RawstorError('BUSY', 'a scrub that somebody asked for is running already', {
          where: `OST ${this.core.ostId}`,
          hint: 'wait for it, or end it: `rawstor scrub --cancel`',
        });
      }
      await this.jobDone;
    }
    const job: ScrubJob = {
      objectId,
      running: true,
      totalBytes: 0,
      doneBytes: 0,
      checkedBytes: 0,
      badBlocks: 0,
      unsealedRegions: 0,
      failure: '',
    };
    this.job = job;
    this.asker = asker;
    this.cancelled = false;
    this.jobDone = this.run(job, bytesPerSec)
      .then(
        (failure) => {
          job.failure = failure;
        },
        (error) => {
          job.failure = this.endsEarly() || asRawstorError(error).toUserText();
        },
      )
      .finally(() => {
        job.running = false;
      });
  }

  /** Ends the job that runs; resolves when it has ended. */
  async cancel(): Promise<void> {
    if (!this.job?.running) return;
    this.cancelled = true;
    await this.jobDone;
  }

  /** Why the job does not go on; '' where it does. */
  private endsEarly(): string {
    if (this.loop.ended) return 'the OST is ending';
    if (this.cancelled) return 'it was cancelled';
    return this.asker?.gone === true ? 'whoever asked for it is gone' : '';
  }

  /** @returns why it ended early */
  private async run(job: ScrubJob, bytesPerSec: number): Promise<string> {
    const pace = new Pace(this.core.env.clock, bytesPerSec);
    const pass = new ScrubPass(this.core, this.checksums, async (bytes) => {
      await pace.take(bytes);
      // Not at the end of the region: that may take seconds.
      const early = this.endsEarly();
      if (early !== '') throw new RawstorError('UNAVAILABLE', early);
    });
    const ids = job.objectId === null ? this.objectIds() : [job.objectId];
    let failure = '';
    try {
      const all = [...ids];
      for (const id of all) {
        await this.within(id, async ({ object }) => {
          for (const _ of regionsOf(this.core, object)) job.totalBytes += REGION_BYTES;
        });
      }
      for (const id of all) {
        await this.within(id, async (access) => {
          for (const region of regionsOf(this.core, access.object)) {
            if (this.endsEarly() !== '' || access.ended) return;
            const error = await unlessIo(pass.region(access, region));
            if (error !== null) failure ||= error.toUserText();
            job.doneBytes += REGION_BYTES;
            Object.assign(job, pass.counts);
          }
        });
        const early = this.endsEarly();
        if (early !== '') return early;
      }
      return failure;
    } finally {
      await pass.close();
    }
  }

  private async round(): Promise<void> {
    const { clock, log } = this.core.env;
    const { state } = this;
    const over = state === null || state.finishedWallMs !== null;
    if (over && state !== null && clock.wallMs() - state.startedWallMs < this.tuning.scrubPeriodMs) return;
    let current: ScrubState = over
      ? { startedWallMs: clock.wallMs(), finishedWallMs: null, at: null }
      : state;
    const from = current.at;
    const pace = new Pace(clock, this.tuning.scrubBytesPerSec);
    const pass = new ScrubPass(this.core, this.checksums, (bytes) => pace.take(bytes, this.loop.share()));
    const note = async (next: ScrubState) => {
      current = next;
      this.state = next;
      this.notedAtMs = clock.nowMs();
      await this.core.commit([scrubStateChange(next)]);
    };
    try {
      for (const id of this.objectIds()) {
        if (from !== null && id < from.objectId) continue;
        await this.within(id, async (access) => {
          for (const region of regionsOf(this.core, access.object)) {
            if (this.loop.ended || access.ended) return;
            if (from?.objectId === id && isBefore(region, from)) continue;
            const at = { objectId: id, chunk: region.chunk, version: region.version, region: region.region };
            current = { ...current, at };
            if (clock.nowMs() - this.notedAtMs > NOTED_EVERY_MS) await note(current);
            const error = await unlessIo(pass.region(access, region));
            if (error !== null)
              log.warn({ ...at, reason: error.toUserText() }, 'a region cannot be scrubbed');
          }
        });
        if (this.loop.ended) break;
      }
      // Cut short by the end of the process: the next one goes on here.
      if (this.loop.ended) return await note(current);
      await note({ ...current, finishedWallMs: clock.wallMs(), at: null });
    } finally {
      await pass.close();
    }
    const { badBlocks, checkedBytes, unsealedRegions } = pass.counts;
    const what = badBlocks > 0 ? 'scrub: all is read, some blocks are damaged' : 'scrub: all is right';
    log.info({ badBlocks, checkedBytes, unsealedRegions }, what);
  }

  private *objectIds(): Generator<string> {
    let after: string | null = null;
    for (;;) {
      const ids: string[] = this.core.records.objectIds(after, OBJECTS_AT_ONCE);
      yield* ids;
      after = ids.at(-1) ?? null;
      if (ids.length < OBJECTS_AT_ONCE) return;
    }
  }

  private async within(id: string, work: (access: QuietAccess) => Promise<void>): Promise<void> {
    let access: QuietAccess;
    try {
      access = new QuietAccess(this.core, id);
    } catch {
      // Removed meanwhile, or never here.
      return;
    }
    try {
      await work(access);
    } catch (error) {
      if (!access.ended && !this.loop.ended) throw error;
    } finally {
      access.close();
    }
  }
}

function isBefore(
  one: { chunk: number; version: number; region: number },
  other: { chunk: number; version: number; region: number },
): boolean {
  const difference = one.chunk - other.chunk || one.version - other.version || one.region - other.region;
  return difference < 0;
}
