import { asRawstorError, type RawstorError } from '../../common/errors.js';
import { Pace } from '../../common/pace.js';
import type { ChunkFile } from '../chunk-file.js';
import type { OstCore } from '../core.js';
import { REGIONS_PER_PAGE } from '../record-codec.js';
import type { OstTuning } from '../tuning.js';
import { BackgroundLoop } from './background-loop.js';
import type { Checksums } from './checksums.js';
import { isInSync, type KnownRegion, regionsOf } from './object-regions.js';
import { QuietAccess, unlessIo } from './quiet-access.js';
import { RegionSummer, type Throttle } from './region-summer.js';
import { epochOfSums, sumsKey } from './sum-record.js';

const PERIOD_MS = 2000;
/** Regions looked at before others have their turn. */
const LOOKED_AT = 256;
/** One tick of RegionMirror. */
const TICK_MS = 100;
/** Regions to be looked at before all others; more come with the next pass. */
const SOON_MAX = 1024;
const OBJECTS_AT_ONCE = 256;

interface SoonRegion {
  readonly objectId: string;
  readonly chunk: number;
  readonly version: number;
  readonly region: number;
}

/**
 * Takes checksums behind the data path: of regions that were sealed and have been left alone for a while. Nothing
 * of it is asked of a write but to note which blocks it changes: most blocks of a busy disk are written again before
 * anyone would verify them.
 */
export class SumKeeper {
  private readonly core: OstCore;
  private readonly tuning: OstTuning;
  private readonly summer: RegionSummer;
  private readonly loop: BackgroundLoop;
  private readonly throttle: Throttle;
  /** Objects in which regions may be without, and up to which epoch all have them. */
  private readonly toLook = new Set<string>();
  private readonly summedThrough = new Map<string, number>();
  private soonRegions: SoonRegion[] = [];

  constructor(core: OstCore, checksums: Checksums, tuning: OstTuning) {
    this.core = core;
    this.tuning = tuning;
    this.summer = new RegionSummer(core, checksums);
    this.loop = new BackgroundLoop(core, 'checksums cannot be taken', PERIOD_MS, () => this.round());
    const pace = new Pace(core.env.clock, tuning.sumBytesPerSec);
    this.throttle = (bytes) => pace.take(bytes, this.loop.share());
  }

  start(): void {
    let after: string | null = null;
    do {
      const ids = this.core.records.objectIds(after, OBJECTS_AT_ONCE);
      for (const id of ids) this.toLook.add(id);
      after = ids.length === OBJECTS_AT_ONCE ? ids.at(-1)! : null;
    } while (after !== null);
    this.loop.start();
  }

  close(): Promise<void> {
    return this.loop.close();
  }

  look(objectId: string): void {
    this.toLook.add(objectId);
  }

  /** Checksums of some region of the object were given up though it may be at rest. */
  givenUp(objectId: string): void {
    this.summedThrough.delete(objectId);
    this.toLook.add(objectId);
  }

  /** The same, of this region, and it should not be long without. */
  soon({ object, chunk, version }: ChunkFile, region: number): void {
    const { id } = object.record;
    // Should it not work out at once, the next pass comes by everything.
    this.givenUp(id);
    if (this.soonRegions.length < SOON_MAX) this.soonRegions.push({ objectId: id, chunk, version, region });
    this.loop.kick();
  }

  private async round(): Promise<void> {
    const soon = this.soonRegions;
    this.soonRegions = [];
    for (const one of soon) await this.within(one.objectId, (access) => this.sum(access, one, false));
    for (const id of [...this.toLook]) {
      if (this.loop.ended) return;
      this.toLook.delete(id);
      await this.within(id, async (access) => {
        if (!(await this.pass(access))) this.toLook.add(id);
      });
    }
  }

  private async within(id: string, work: (access: QuietAccess) => Promise<unknown>): Promise<void> {
    let access: QuietAccess;
    try {
      access = new QuietAccess(this.core, id);
    } catch {
      // Removed meanwhile.
      this.summedThrough.delete(id);
      return;
    }
    try {
      await work(access);
    } catch (error) {
      if (access.ended || this.loop.ended) return;
      this.toLook.add(id);
      throw asRawstorError(error);
    } finally {
      access.close();
    }
  }

  /** Answers whether every sealed region of the object has its checksums now. */
  private async pass(access: QuietAccess): Promise<boolean> {
    const { core } = this;
    const { object } = access;
    const seal = object.lastSeal;
    const from = this.summedThrough.get(object.record.id) ?? 0;
    if (seal <= from || !isInSync(core, object)) return true;
    let through = seal;
    let looked = 0;
    let failure: RawstorError | null = null;
    for (const region of regionsOf(core, object)) {
      if (++looked % LOOKED_AT === 0) await core.env.clock.sleep(1);
      if (this.loop.ended || access.ended) return true;
      if (region.epoch <= from || region.epoch > seal) continue;
      const value = core.records.value(sumsKey(object.key, region.chunk, region.version, region.region));
      if (value !== undefined && epochOfSums(value) === region.epoch) continue;
      let summed = false;
      const error = await unlessIo(
        this.sum(access, region, true).then((done) => {
          summed = done;
        }),
      );
      failure ??= error;
      if (!summed) through = Math.min(through, region.epoch - 1);
    }
    // Looked for again meanwhile: some may have been given up behind this pass.
    if (this.toLook.has(object.record.id)) this.summedThrough.delete(object.record.id);
    else this.summedThrough.set(object.record.id, through);
    if (failure !== null) throw failure;
    return through === seal;
  }

  private sum(
    access: QuietAccess,
    { chunk: number, version, region }: Omit<KnownRegion, 'epoch'>,
    leftAlone: boolean,
  ): Promise<boolean> {
    return access.with(number, version, async (chunk) => {
      if (leftAlone && this.isWarm(chunk, region)) return false;
      const outcome = await this.summer.sum(chunk, region, access.object.lastSeal, this.throttle);
      return outcome !== 'busy';
    });
  }

  private isWarm(chunk: ChunkFile, region: number): boolean {
    const { regions } = this.core;
    const written = regions.page(chunk, region).lastWritten[region % REGIONS_PER_PAGE]!;
    const { sumDelayMs, sumIdleDelayMs } = this.tuning;
    const delayMs = this.loop.share() < 1 ? sumDelayMs : Math.min(sumDelayMs, sumIdleDelayMs);
    return written > 0 && (regions.tick - written) * TICK_MS < delayMs;
  }
}
