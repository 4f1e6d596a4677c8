import type { Timer } from '../../common/clock.js';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import {
  type Events,
  end,
  replaceAll,
  type Served,
  serve,
  type VhostGatewayOptions,
  type VhostPlace,
} from './served-place.js';

const AGAIN_MS = 5000;

/**
 * Volumes of a cluster as vhost-user block devices, each on its socket. Each lives and fails by itself: one that can
 * serve no more, or cannot be opened, is tried again while others are served.
 */
export class VhostGateway {
  readonly places: readonly VhostPlace[];
  /** Resolved when none of the volumes is served any more, and some for a failure. */
  readonly failed: Promise<RawstorError>;
  /** Resolved when there is nothing left to serve: other processes have taken over, or front-ends by descriptor are gone. */
  readonly done: Promise<string>;
  private readonly options: VhostGatewayOptions;
  private readonly served: Served[] = [];
  /** Why volumes are not served, by name: what came first, whatever is in the way of trying again. */
  private readonly failures = new Map<string, RawstorError>();
  /** What was said last of a volume that is not served. */
  private readonly saidOf = new Map<string, string>();
  private readonly beginnings = new Set<Promise<void>>();
  /** Volumes that are being closed. */
  private readonly endings = new Set<Promise<void>>();
  private readonly timers = new Set<Timer>();
  private readonly events: Events = {
    failed: (served, error) => this.lost(served, error),
    gone: (served) => this.gone(served),
  };
  private starting = true;
  private closed = false;
  private fail!: (error: RawstorError) => void;
  private allGone!: (reason: string) => void;

  private constructor(options: VhostGatewayOptions) {
    this.options = options;
    this.places = options.places;
    this.failed = new Promise((resolve) => {
      this.fail = resolve;
    });
    this.done = new Promise((resolve) => {
      this.allGone = resolve;
    });
  }

  /** @throws RawstorError BUSY, NOT_FOUND ... when no volume can be opened or no socket listened on */
  static async start(options: VhostGatewayOptions): Promise<VhostGateway> {
    const gateway = new VhostGateway(options);
    try {
      if (options.replace === true) {
        const onFailed = (place: VhostPlace, error: RawstorError) => gateway.note(place, error);
        for (const served of await replaceAll(options, gateway.events, onFailed)) gateway.begun(served);
      } else {
        await Promise.all(options.places.map((place) => gateway.begin(place)));
      }
      gateway.starting = false;
      if (gateway.over && gateway.failures.size > 0) throw gateway.whole();
      gateway.lookForTheEnd();
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return gateway;
  }

  /** Volumes that are not served for now. */
  get down(): string[] {
    return [...this.failures.keys()];
  }

  /** Closes every volume cleanly. */
  async close(): Promise<void> {
    this.closed = true;
    for (const timer of this.timers) timer.cancel();
    await Promise.all([...this.served.splice(0).map(end), ...this.endings, ...this.beginnings]);
    // Of those that came back meanwhile.
    await Promise.all(this.endings);
  }

  /** Tries to serve a volume. */
  private async begin(place: VhostPlace): Promise<void> {
    let served: Served;
    try {
      served = await serve(place, this.options, this.events);
    } catch (error) {
      this.note(place, asRawstorError(error, place.name));
      return;
    }
    if (this.closed) this.ends(served.place, end(served));
    else this.begun(served);
  }

  private begun(served: Served): void {
    this.served.push(served);
    this.saidOf.delete(served.place.name);
    if (this.failures.delete(served.place.name)) {
      this.options.log.info({ volume: served.place.name }, 'served again');
    }
    // It may have come before this one was told of it.
    if (served.failure !== null) this.lost(served, served.failure);
  }

  /** It serves no more: its guest waits, others are served on. */
  private lost(served: Served, error: RawstorError): void {
    if (!this.take(served)) return;
    this.failures.set(served.place.name, error);
    this.saidOf.set(served.place.name, error.message);
    this.say(served.place, error, 'this volume can be served no more');
    this.ends(served.place, end(served), true);
    this.lookForTheEnd();
  }

  private gone(served: Served): void {
    if (this.take(served)) this.ends(served.place, served.device.close());
  }

  private take(served: Served): boolean {
    const at = this.served.indexOf(served);
    if (at >= 0) this.served.splice(at, 1);
    return at >= 0;
  }

  private ends(place: VhostPlace, work: Promise<void>, again = false): void {
    const whole = work
      .catch((err: unknown) => this.options.log.error({ volume: place.name, err }, 'not closed cleanly'))
      .then(() => {
        this.endings.delete(whole);
        if (again) this.again(place);
        this.lookForTheEnd();
      });
    this.endings.add(whole);
  }

  /** Also where volumes are being tried again: each alone would keep the others waiting. */
  private get over(): boolean {
    return this.served.length === 0 && !this.starting && this.options.beside !== true;
  }

  private lookForTheEnd(): void {
    if (this.closed || !this.over) return;
    // What is still being closed then has the time that `close` has.
    if (this.failures.size > 0) this.fail(this.whole());
    else if (this.endings.size === 0) this.allGone('there is nothing left to serve');
  }

  private note(place: VhostPlace, error: RawstorError): void {
    if (!this.failures.has(place.name)) this.failures.set(place.name, error);
    if (this.saidOf.get(place.name) !== error.message) this.say(place, error, 'this volume cannot be served');
    this.saidOf.set(place.name, error.message);
    this.again(place);
  }

  /** Of a single volume the process says it when it ends. */
  private say({ name }: VhostPlace, err: unknown, text: string): void {
    const alone = this.places.length === 1 && this.options.beside !== true;
    if (!alone && !this.closed) this.options.log.error({ volume: name, err }, text);
  }

  /** What was in the way may pass: as if the process had been started again. */
  private again(place: VhostPlace): void {
    // Whoever has handed a descriptor over has no other one to hand over.
    if (this.closed || place.socket.startsWith('fd:')) return;
    const { clock, againMs = AGAIN_MS } = this.options;
    const timer = clock.after(againMs, () => {
      this.timers.delete(timer);
      if (this.closed || this.over) return;
      const beginning = this.begin(place).finally(() => this.beginnings.delete(beginning));
      this.beginnings.add(beginning);
    });
    this.timers.add(timer);
  }

  /** Why nothing is served, of all volumes. */
  private whole(): RawstorError {
    const [first] = this.failures.values();
    if (this.places.length === 1) return first!;
    const texts = [...this.failures].map(([name, { message }]) => `${name}: ${message}`);
    const { code, hint } = first!;
    const text = `no volume is served any more: ${texts.join('; ')}`;
    return new RawstorError(code, text, { where: this.down.join(', '), hint, cause: first });
  }
}

/**
 * Where the volumes are served. @throws RawstorError USAGE
 * @param only path or `fd:N` for the one volume there is
 * @param directory of a socket for each, by the volume's name
 */
export function placesOf(
  names: readonly string[],
  only: string | undefined,
  directory: string,
): VhostPlace[] {
  if (only !== undefined) {
    if (names.length === 1) return [{ name: names[0]!, socket: only }];
    throw new RawstorError('USAGE', `one socket for ${names.length} volumes`, {
      hint: 'give --socket-dir, where each volume has a socket of its own',
    });
  }
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new RawstorError('USAGE', `volume '${twice}' is named twice`);
  return names.map((name) => ({ name, socket: `${directory}/${name}.vhost` }));
}
