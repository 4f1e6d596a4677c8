import type { Random } from '../../src/common/random.js';
import { RawNbd, request } from '../fixtures/nbd-client.js';
import { type Change, type LegalValues, type Look, SECTOR_BYTES, WrongData } from './legal-values.js';

const COMMAND = { READ: 0, WRITE: 1, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;
const FLAG_FUA = 1;
const FLAG_NO_HOLE = 2;
const ENOSPC = 28;
const EIO = 5;
const RECONNECT_MS = 100;
const MAX_SECTORS = (256 * 1024) / SECTOR_BYTES;

export interface GuestOptions {
  readonly name: string;
  readonly socketPath: string;
  readonly volume: string;
  readonly values: LegalValues;
  readonly random: Random;
  readonly connections?: number;
  /** Requests in flight on each connection. */
  readonly depth?: number;
  /** From there on changes may overlap in flight. */
  readonly overlapFromSector?: number;
  /** Once a connection is lost, it stays lost. */
  readonly once?: boolean;
}

interface Request {
  readonly command: number;
  readonly flags: number;
  readonly firstSector: number;
  readonly sectors: number;
  readonly change: Change | null;
  readonly look: Look | null;
  readonly done: (errno: number) => void;
  readonly failed: (error: Error) => void;
}

/** Instead of an error number: the guest ended before there was an answer. */
const NEVER = -1;

/**
 * A virtual machine's disk: several NBD connections to one gateway, each with requests in flight. A connection
 * that is lost is made again, and what was not answered on it is sent again, as QEMU's reconnect-delay does.
 * Everything read is held against the legal values.
 */
export class Guest {
  /** The first thing that must not be. */
  failure: Error | null = null;
  answered = 0;
  bytes = 0;
  reconnects = 0;
  /** Flushes that were told of a loss. */
  lossesTold = 0;
  noSpace = 0;
  /** Full disks are to be expected. */
  mayBeFull = false;
  private readonly options: Required<GuestOptions>;
  private readonly lanes: Promise<void>[];
  private queue: Request[] = [];
  private readonly live = new Set<RawNbd>();
  private readonly outstanding = new Set<Request>();
  private readonly busySectors = new Map<number, number>();
  private wake: (() => void)[] = [];
  private loading = false;
  private ended = false;

  constructor(options: GuestOptions) {
    const { sectors } = options.values;
    this.options = { connections: 3, depth: 4, overlapFromSector: sectors, once: false, ...options };
    this.lanes = Array.from({ length: this.options.connections }, () => this.connection());
  }

  get idle(): boolean {
    return this.outstanding.size === 0;
  }

  get connected(): boolean {
    return this.live.size > 0;
  }

  /** What was not answered, for a message. */
  waiting(): string {
    const waiting = [...this.outstanding].slice(0, 8);
    return `${this.outstanding.size} unanswered, ${this.live.size} connections: ${waiting.map(tell).join('; ')}`;
  }

  /** Random requests from now on. */
  load(): void {
    this.loading = true;
    const { connections, depth } = this.options;
    for (let i = this.outstanding.size; i < connections * depth; i++) this.next();
  }

  /** No new requests; resolves when all are answered. */
  async quiet(): Promise<void> {
    this.loading = false;
    while (this.outstanding.size > 0 && this.failure === null) await pause(20);
    if (this.failure !== null) throw this.failure;
  }

  /** The machine is gone: what was under way may or may not have happened. */
  end(): void {
    this.loading = false;
    this.ended = true;
    for (const connection of this.live) connection.destroy();
    for (const wake of this.wake.splice(0)) wake();
    for (const asked of this.outstanding) {
      if (this.failure === null) asked.done(NEVER);
      else asked.failed(this.failure);
    }
    this.outstanding.clear();
  }

  async closed(): Promise<void> {
    this.end();
    await Promise.all(this.lanes);
  }

  write(firstSector: number, sectors: number, fua = false): Promise<number> {
    const change = this.options.values.issue('write', firstSector, sectors);
    return this.ask(COMMAND.WRITE, fua ? FLAG_FUA : 0, firstSector, sectors, change, null);
  }

  zero(kind: 'zero' | 'trim', firstSector: number, sectors: number, flags = 0): Promise<number> {
    const change = this.options.values.issue(kind, firstSector, sectors);
    const command = kind === 'zero' ? COMMAND.WRITE_ZEROES : COMMAND.TRIM;
    return this.ask(command, flags, firstSector, sectors, change, null);
  }

  read(firstSector: number, sectors: number): Promise<number> {
    const look = this.options.values.beginRead(firstSector, sectors);
    return this.ask(COMMAND.READ, 0, firstSector, sectors, null, look);
  }

  flush(): Promise<number> {
    return this.ask(COMMAND.FLUSH, 0, 0, 0, null, this.options.values.beginFlush());
  }

  /** Reads all of the volume; throws where it is wrong. */
  async readAll(): Promise<void> {
    const { sectors } = this.options.values;
    for (let first = 0; first < sectors; first += MAX_SECTORS * 8) {
      const reads: Promise<number>[] = [];
      for (let i = first; i < Math.min(sectors, first + MAX_SECTORS * 8); i += MAX_SECTORS) {
        reads.push(this.read(i, Math.min(MAX_SECTORS, sectors - i)));
      }
      await Promise.all(reads);
      if (this.failure !== null) throw this.failure;
    }
  }

  private ask(
    command: number,
    flags: number,
    firstSector: number,
    sectors: number,
    change: Change | null,
    look: Look | null,
  ): Promise<number> {
    return new Promise((resolve, reject) => {
      const asked = { command, flags, firstSector, sectors, change, look, done: resolve, failed: reject };
      if (this.failure !== null) return reject(this.failure);
      if (this.ended) return resolve(NEVER);
      this.outstanding.add(asked);
      this.queue.push(asked);
      this.wake.pop()?.();
    });
  }

  private next(): void {
    if (!this.loading || this.ended) return;
    const { random, values, overlapFromSector } = this.options;
    const kind = random.next();
    if (kind < 0.02) return this.whenDone(this.flush(), 0, 0);
    // Whole blocks mostly; half of the requests are small.
    const unit = random.next() < 0.85 ? 8 : 1;
    const longest = random.next() < 0.5 ? 16 : MAX_SECTORS;
    const sectors = unit * (1 + random.below(longest / unit));
    const first = unit * random.below((values.sectors - sectors) / unit + 1);
    if (kind < 0.42) return this.whenDone(this.read(first, sectors), 0, 0);
    const end = Math.min(first + sectors, overlapFromSector);
    // A file system does not change a block while that is on its way; one that crosses the border does not either.
    for (let i = first; i < end; i++)
      if (this.busySectors.has(i)) return this.whenDone(this.read(first, sectors), 0, 0);
    for (let i = first; i < end; i++) this.busySectors.set(i, 1);
    const fua = random.next() < 0.05;
    if (kind < 0.88) return this.whenDone(this.write(first, sectors, fua), first, end);
    const flags = (fua ? FLAG_FUA : 0) | (kind < 0.92 ? FLAG_NO_HOLE : 0);
    if (kind < 0.95) return this.whenDone(this.zero('zero', first, sectors, flags), first, end);
    this.whenDone(this.zero('trim', first, sectors, fua ? FLAG_FUA : 0), first, end);
  }

  private whenDone(work: Promise<number>, first: number, end: number): void {
    work.then(
      () => {
        for (let i = first; i < end; i++) this.busySectors.delete(i);
        // In a turn of its own, so that a server that is fast does not starve the timers here.
        setImmediate(() => this.next());
      },
      () => {},
    );
  }

  private async connection(): Promise<void> {
    const { socketPath, volume, once, depth } = this.options;
    while (!this.ended && this.failure === null) {
      let nbd: RawNbd;
      try {
        nbd = await RawNbd.open(`unix:${socketPath}`, { name: volume });
      } catch {
        await pause(RECONNECT_MS);
        continue;
      }
      this.live.add(nbd);
      const sent = new Map<number, Request>();
      try {
        await this.serve(nbd, sent, depth);
      } catch (error) {
        if (error instanceof WrongData || (error as Error).message.startsWith('guest '))
          this.fail(error as Error);
      }
      nbd.destroy();
      this.live.delete(nbd);
      this.queue.unshift(...sent.values());
      for (const wake of this.wake.splice(0)) wake();
      if (once) return;
      this.reconnects++;
    }
  }

  /** Sends and takes answers until the connection ends, which throws. */
  private async serve(nbd: RawNbd, sent: Map<number, Request>, depth: number): Promise<void> {
    let cookie = 1;
    let over = false;
    let roomAgain: (() => void) | null = null;
    const answers = async () => {
      try {
        for (;;) {
          const header = await nbd.read(16);
          const asked = sent.get(Number(header.readBigUInt64BE(8)));
          if (asked === undefined || header.readUInt32BE(0) !== 0x67446698) {
            throw new Error(
              `guest ${this.options.name} got no answer to a request: ${header.toString('hex')}`,
            );
          }
          const errno = header.readUInt32BE(4);
          const carries = asked.command === COMMAND.READ && errno === 0;
          const data = carries ? await nbd.read(asked.sectors * SECTOR_BYTES) : null;
          sent.delete(Number(header.readBigUInt64BE(8)));
          this.settle(asked, errno, data);
          roomAgain?.();
        }
      } finally {
        over = true;
        roomAgain?.();
        for (const wake of this.wake.splice(0)) wake();
      }
    };
    const answering = answers();
    answering.catch(() => {});
    while (!over) {
      const asked = sent.size < depth ? this.queue.shift() : undefined;
      if (asked !== undefined) {
        sent.set(cookie, asked);
        this.send(nbd, asked, cookie++);
      } else if (sent.size >= depth) {
        await new Promise<void>((resolve) => {
          roomAgain = resolve;
        });
      } else {
        await new Promise<void>((resolve) => this.wake.push(resolve));
      }
    }
    await answering;
  }

  private send(nbd: RawNbd, asked: Request, cookie: number): void {
    const { command, flags, firstSector, sectors, change } = asked;
    const header = request(command, firstSector * SECTOR_BYTES, sectors * SECTOR_BYTES, { flags, cookie });
    if (command !== COMMAND.WRITE) return nbd.send(header);
    const data = Buffer.allocUnsafe(sectors * SECTOR_BYTES);
    this.options.values.fill(change!, data);
    nbd.send(header, data);
  }

  private settle(asked: Request, errno: number, data: Buffer | null): void {
    const { values, name } = this.options;
    const { change, look } = asked;
    this.outstanding.delete(asked);
    this.answered++;
    this.bytes += asked.sectors * SECTOR_BYTES;
    if (errno === 0) {
      if (change !== null) values.acknowledge(change, (asked.flags & FLAG_FUA) !== 0);
      else if (data !== null) values.endRead(look!, data, name);
      else values.endFlush(look!);
    } else {
      if (change !== null) values.fail(change);
      const full = errno === ENOSPC && this.mayBeFull && change !== null;
      const lost = errno === EIO && asked.command === COMMAND.FLUSH && values.lossCount > 0;
      if (full) this.noSpace++;
      else if (lost) this.lossesTold++;
      else throw new Error(`guest ${name} was answered ${tell(asked)} with errno ${errno}`);
    }
    asked.done(errno);
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.end();
  }
}

function tell({ command, flags, firstSector, sectors }: Request): string {
  const word = Object.entries(COMMAND).find(([, value]) => value === command)![0];
  return `${word}${flags & FLAG_FUA ? ' FUA' : ''} of ${sectors} sectors at ${firstSector}`;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
