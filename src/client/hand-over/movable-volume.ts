import {
  type BlockDevice,
  BlockOp,
  type BlockRequest,
  type Extent,
  type LayerRun,
  type Mark,
  USUAL_LIMITS,
} from '../../block/device.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { type Contents, contentsOf } from '../keys/index.js';
import { marksOf } from '../layers.js';
import type { Volume } from '../volume.js';
import { LateAnswers } from './late-answers.js';
import type { MovableEnvironment, MovableOptions, State } from './movable-options.js';
import { QuietFront } from './quiet-front.js';
import { frontEndWent, waitedFor, wentOnElsewhere, writtenElsewhere } from './refusals.js';
import { StandbyReader } from './standby-reader.js';
import { StandbyReads } from './standby-reads.js';
import { takeLease } from './take-lease.js';
import { type WaitingRequest, WaitingRequests } from './waiting-requests.js';

/**
 * A volume that goes with its guest from process to process (docs/consistency: handing over). Who holds it gives way,
 * asked and with a front-end that has stopped, by an ordinary close; who stands by asks with its first change, and waits.
 */
export class MovableVolume implements BlockDevice {
  readonly readOnly = false;
  readonly multiConnection = true;
  readonly limits = USUAL_LIMITS;
  /** Called once when it can serve no more. */
  onFatal: ((error: RawstorError) => void) | null = null;
  onResized: ((sizeBytes: number) => void) | null = null;
  onWanted: (() => void) | null = null;
  private readonly env: MovableEnvironment;
  private readonly options: MovableOptions;
  private readonly reader: StandbyReader;
  private readonly standbyContents: Contents;
  private readonly front = new QuietFront();
  private state: State = { kind: 'stands-by' };
  private sizeTold: number;
  private readonly waiting = new WaitingRequests();
  private readonly reads: StandbyReads;
  private readonly late: LateAnswers;
  /** Ended by itself, and still to be closed: its lease is given back by that. */
  private failed: Volume | null = null;
  /** Another process waits for it. */
  private asked = false;
  /** The front-end has stopped, or there is none. */
  private resting = true;
  /** The session that was given away under the front-end that is still there. */
  private gave: number | null = null;
  /** The last asking for it, which may still be on its way when nobody here wants it any more. */
  private taking: Promise<void> = Promise.resolve();

  private constructor(env: MovableEnvironment, reader: StandbyReader, options: MovableOptions) {
    this.env = env;
    this.reader = reader;
    this.options = options;
    this.late = new LateAnswers(env.io);
    this.sizeTold = reader.object.sizeBytes;
    const failed = (block: BlockRequest) => this.serve(block);
    this.reads = new StandbyReads(reader, () => this.tellSize(), failed);
    this.standbyContents = contentsOf(reader.object, env.cipher, {
      submit: (block) => void this.reads.submit(block),
      finishLater: (block, error) => this.late.finish(block, error),
    });
  }

  /** @throws RawstorError BUSY unless it may stand by; NOT_FOUND, UNAVAILABLE, FENCED */
  static async open(env: MovableEnvironment, ref: string, options: MovableOptions): Promise<MovableVolume> {
    const reader = new StandbyReader(env, await env.mds.call('mds.getObj', { ref }));
    const movable = new MovableVolume(env, reader, options);
    try {
      const { holder, after, standby: ifClosed } = options;
      const more = after === undefined ? {} : { after };
      movable.hold(await env.openVolume(ref, { mode: 'write', holder, ifClosed, ...more }));
    } catch (error) {
      const failure = asRawstorError(error);
      if (!options.standby || failure.code !== 'BUSY') throw error;
      env.log.info({ reason: failure.message }, 'standing by');
    }
    return movable;
  }

  /** Whether this process is the writer now. */
  get holds(): boolean {
    return this.state.kind === 'holds';
  }

  /** As last heard, where another process has it. */
  get object() {
    return this.state.kind === 'holds' ? this.state.volume.object : this.reader.object;
  }

  get sizeBytes(): number {
    return this.object.sizeBytes;
  }

  /** Who holds it may have made it larger, and a guest that comes from there knows. */
  get endBytes(): number {
    return this.state.kind === 'holds' ? this.state.volume.sizeBytes : Number.MAX_SAFE_INTEGER;
  }

  async refresh(): Promise<void> {
    if (this.state.kind !== 'stands-by') return;
    await this.reader.look().catch(() => {});
    this.tellSize();
  }

  submit(block: BlockRequest): void {
    const { state } = this;
    this.front.note(block.op);
    if (state.kind === 'holds') return state.volume.submit(block);
    if ('error' in state) return this.late.finish(block, state.error);
    const readsHere = block.op === BlockOp.READ && !this.options.tellsStops;
    if (state.kind === 'stands-by' && readsHere) return this.standbyContents.submit(block);
    if (state.kind === 'stands-by' && block.op === BlockOp.CACHE) return this.late.finish(block, null);
    this.wait(block);
  }

  /** Of a front-end that is gone: what has not begun never does, since another process may do it again by then. */
  withdraw(isGone: (block: BlockRequest) => boolean): void {
    const gone = ({ block, below }: WaitingRequest) =>
      isGone(below ? this.standbyContents.submitted(block) : block);
    this.waiting.finish(this.late, frontEndWent(this.reader.object.name), gone);
    const takes = this.state.kind === 'moves' && this.state.takes && this.waiting.none;
    if (takes || this.state.kind === 'refuses') this.state = { kind: 'stands-by' };
  }

  /** The facade's front-end has stopped, or is gone; or it begins. */
  rest(resting: boolean, goesOn = false): void {
    this.resting = resting;
    if (!resting && !goesOn) this.gave = null;
    if (this.state.kind === 'holds') this.review();
    // Its guest runs here from now on: the first request needs not wait as long.
    else if (!resting && this.options.tellsStops && this.state.kind === 'stands-by') this.take();
  }

  extents(offset: number, length: number): Promise<Extent[]> {
    if (this.state.kind === 'holds') return this.front.during(this.state.volume.extents(offset, length));
    // "All data" is always true.
    const lengthBytes = Math.min(length, this.sizeBytes - offset);
    return Promise.resolve([{ lengthBytes, hole: false, zero: false }]);
  }

  marks(): Mark[] {
    return marksOf(this.object, 'head');
  }

  async layers(since: Mark | null, offset: number, length: number): Promise<LayerRun[]> {
    if (this.state.kind !== 'holds') throw writtenElsewhere(this.reader.object.name);
    return await this.front.during(this.state.volume.layers(since, offset, length));
  }

  async close(): Promise<void> {
    const { state } = this;
    this.end(new RawstorError('UNAVAILABLE', `volume ${this.reader.object.name} is closed`));
    if (state.kind === 'moves') await state.done;
    await this.taking;
    await (state.kind === 'holds' ? state.volume : this.failed)?.close();
    await this.reads.whenOver();
  }

  async giveWay(): Promise<number | null> {
    if (this.state.kind === 'moves') await this.state.done;
    await this.taking;
    const { state } = this;
    if (state.kind === 'over') return null;
    if (this.asked) throw waitedFor(this.reader.object.name);
    if (state.kind !== 'holds') return (await this.reader.look()).sessionEpoch;
    const done = this.give(state.volume);
    // Between those two there is only who takes this place, by the same front-end.
    this.gave = null;
    await done;
    return state.volume.object.sessionEpoch;
  }

  abandon(): void {
    if (this.state.kind === 'holds') this.state.volume.abandon();
    else this.end(new RawstorError('UNAVAILABLE', 'given up', { where: this.reader.object.name }));
  }

  private hold(volume: Volume): void {
    this.asked = false;
    volume.onFatal = (error) => {
      if (this.state.kind !== 'holds' || this.state.volume !== volume) return;
      this.failed = volume;
      this.end(error);
      this.onFatal?.(error);
    };
    volume.onResized = () => this.tellSize();
    volume.onHandOver = (asked) => {
      this.asked = asked;
      this.review();
    };
    this.state = { kind: 'holds', volume };
    this.tellSize();
    this.submitWaiting();
    this.review();
  }

  /** Gives way as soon as that is asked for and the front-end has stopped. */
  private review(): void {
    const { state, asked } = this;
    if (state.kind !== 'holds' || !asked) return this.front.stop();
    const { tellsStops, standby } = this.options;
    if (this.resting) {
      if (this.onWanted === null || tellsStops || standby) void this.give(state.volume);
      else this.onWanted();
    } else if (!tellsStops && standby) {
      const stopped = () => void this.give(state.volume);
      this.front.watch(this.env.clock, () => state.volume.isIdle, stopped);
    }
  }

  private give(volume: Volume): Promise<void> {
    this.front.stop();
    const { log } = this.env;
    log.info({ volume: volume.object.name }, 'giving way to another process');
    this.reader.object = volume.object;
    const done = volume
      .close(true)
      .catch((error) => log.warn({ err: error }, 'the volume was not closed in order'))
      .then(() => this.stepAside());
    this.state = { kind: 'moves', takes: false, done };
    // Who was only taken for stopped may have gone on all along.
    if (this.options.tellsStops) this.gave = volume.object.sessionEpoch;
    return done;
  }

  private stepAside(): void {
    if (this.state.kind !== 'moves') return;
    this.asked = false;
    this.state = { kind: 'stands-by' };
    this.submitWaiting();
  }

  private wait(block: BlockRequest, below = false): void {
    this.waiting.add(block, below);
    if (this.state.kind === 'stands-by') this.take();
  }

  private take(): void {
    // An open that is no longer wanted would fence the next one.
    this.taking = this.taking.then(() => this.taken(() => this.state !== state));
    const state: State = { kind: 'moves', takes: true, done: this.taking };
    this.state = state;
  }

  private async taken(ended: () => boolean): Promise<void> {
    if (ended()) return;
    try {
      const { env, reader, gave } = this;
      const volume = await takeLease(env, reader, { holder: this.options.holder, after: gave }, ended);
      if (ended()) return await volume.close();
      this.env.log.info({ volume: volume.object.name }, 'the volume is here now');
      this.hold(volume);
    } catch (error) {
      if (ended()) return;
      const failure = asRawstorError(error);
      if (failure.code === 'CONFLICT') return this.refuse(wentOnElsewhere(this.reader.object.name, failure));
      this.end(failure);
      this.onFatal?.(failure);
    }
  }

  /** What the front-end that is there asks for, whatever it is; the next one is served again. */
  private refuse(error: RawstorError): void {
    this.env.log.warn({ err: error }, 'all requests of this front-end are refused');
    this.state = { kind: 'refuses', error };
    this.waiting.finish(this.late, error);
  }

  private submitWaiting(): void {
    for (const { block, below } of this.waiting.take()) {
      if (below) this.serve(block);
      else this.submit(block);
    }
  }

  private serve(block: BlockRequest): void {
    if (this.state.kind === 'holds') return this.state.volume.serve(block);
    if ('error' in this.state) return this.late.finish(block, this.state.error);
    this.wait(block, true);
  }

  private tellSize(): void {
    if (this.sizeTold === this.sizeBytes) return;
    this.sizeTold = this.sizeBytes;
    this.onResized?.(this.sizeBytes);
  }

  private end(error: RawstorError): void {
    this.state = { kind: 'over', error };
    this.front.stop();
    this.reader.close();
    this.waiting.finish(this.late, error);
  }
}
