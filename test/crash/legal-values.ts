export const SECTOR_BYTES = 512;
export const BLOCK_BYTES = 4096;
const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES;
/** Bytes of one mark; a written sector is the same mark over and over. */
const MARK_BYTES = 8;
/** Histories longer than this are looked through for what can never be read again. */
const PRUNE_AT = 32;

/** One write, zero or discard of a guest. `seq` is what its sectors carry beside their own number; 0 is for zeros. */
export interface Change {
  readonly seq: number;
  readonly kind: 'write' | 'zero' | 'trim';
  readonly firstSector: number;
  readonly sectors: number;
  /** On one axis with `endedAt`, which rises with everything that happens. */
  readonly issuedAt: number;
  /** From then on it is not applied any more: acknowledged, or failed. */
  endedAt: number;
  acknowledged: boolean;
  /** Of the last power loss before it was issued. */
  readonly lossCount: number;
}

/** A read or flush under way: what was so when it was issued. */
export interface Look {
  readonly firstSector: number;
  readonly sectors: number;
  readonly floor: Float64Array;
  readonly lossCount: number;
}

export class WrongData extends Error {}

const NOTHING: Change = {
  seq: 0,
  kind: 'zero',
  firstSector: 0,
  sectors: Number.MAX_SAFE_INTEGER,
  issuedAt: -1,
  endedAt: 0,
  acknowledged: true,
  lossCount: 0,
};

/**
 * Which values a volume may give, sector by sector. A change is over once a later one, issued after it had ended,
 * is acknowledged or was read: so each sector has a floor, and a change is legal while it ended after it. Two that
 * were in flight together are legal both. After a loss of what was not flushed the floor is what flushes covered.
 */
export class LegalValues {
  readonly sectors: number;
  /** Of acknowledged changes: the latest issue. */
  private readonly acked: Float64Array;
  /** The same of what was read. */
  private readonly seen: Float64Array;
  /** The same of what a flush or FUA covered. */
  private readonly durable: Float64Array;
  private readonly histories: Change[][];
  private now = 0;
  private nextSeq = 1;
  lossCount = 0;
  /** Something acknowledged was not read again after a loss that may have taken it. */
  missing = 0;
  private readonly beforeLoss: Float64Array;

  constructor(sizeBytes: number) {
    this.sectors = sizeBytes / SECTOR_BYTES;
    this.acked = new Float64Array(this.sectors).fill(-1);
    this.seen = new Float64Array(this.sectors).fill(-1);
    this.durable = new Float64Array(this.sectors).fill(-1);
    this.beforeLoss = new Float64Array(this.sectors).fill(-1);
    this.histories = Array.from({ length: Math.ceil(this.sectors / SECTORS_PER_BLOCK) }, () => [NOTHING]);
  }

  issue(kind: Change['kind'], firstSector: number, sectors: number): Change {
    const seq = kind === 'write' ? this.nextSeq++ : 0;
    const { lossCount } = this;
    const issuedAt = ++this.now;
    const change: Change = {
      seq,
      kind,
      firstSector,
      sectors,
      issuedAt,
      endedAt: Number.POSITIVE_INFINITY,
      acknowledged: false,
      lossCount,
    };
    for (const block of blocksOf(change)) {
      const history = this.histories[block]!;
      history.push(change);
      if (history.length > PRUNE_AT) this.prune(block);
    }
    return change;
  }

  /** The bytes of a change of kind `write`. */
  fill(change: Change, into: Buffer): void {
    for (let i = 0; i < change.sectors; i++) {
      const at = i * SECTOR_BYTES;
      into.writeUInt32LE(change.firstSector + i, at);
      into.writeUInt32LE(change.seq, at + 4);
      for (let size = MARK_BYTES; size < SECTOR_BYTES; size *= 2) into.copy(into, at + size, at, at + size);
    }
  }

  acknowledge(change: Change, isDurable: boolean): void {
    change.endedAt = ++this.now;
    change.acknowledged = true;
    const end = change.firstSector + change.sectors;
    if (isDurable) raise(this.durable, change.firstSector, end, change.issuedAt);
    // The answer may have been under way when the power went.
    if (isDurable || change.lossCount === this.lossCount) {
      raise(this.acked, change.firstSector, end, change.issuedAt);
    }
  }

  /** It was answered with an error: all, some or none of it is there, and nothing of it comes later. */
  fail(change: Change): void {
    change.endedAt = ++this.now;
  }

  beginRead(firstSector: number, sectors: number): Look {
    const floor = new Float64Array(sectors);
    for (let i = 0; i < sectors; i++) floor[i] = this.floorOf(firstSector + i);
    return { firstSector, sectors, floor, lossCount: this.lossCount };
  }

  /** @throws WrongData */
  endRead(look: Look, bytes: Buffer, who: string): void {
    const learns = look.lossCount === this.lossCount;
    for (let i = 0; i < look.sectors; i++) {
      const sector = look.firstSector + i;
      const floor = Math.min(look.floor[i]!, this.floorOf(sector));
      const found = this.find(sector, bytes.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES), floor, who);
      if (!learns) continue;
      if (found.endedAt < this.beforeLoss[sector]!) this.missing++;
      if (found.issuedAt > this.seen[sector]!) this.seen[sector] = found.issuedAt;
    }
  }

  beginFlush(): Look {
    return { firstSector: 0, sectors: this.sectors, floor: this.acked.slice(), lossCount: this.lossCount };
  }

  endFlush(look: Look): void {
    for (let sector = 0; sector < this.sectors; sector++) {
      const covered = look.floor[sector]!;
      if (covered > this.durable[sector]!) this.durable[sector] = covered;
      if (covered > this.acked[sector]!) this.acked[sector] = covered;
    }
  }

  /** From now on everything that was not flushed may be gone. */
  loss(): void {
    this.lossCount++;
    for (let i = 0; i < this.sectors; i++) {
      if (this.acked[i]! > this.beforeLoss[i]!) this.beforeLoss[i] = this.acked[i]!;
    }
    this.acked.set(this.durable);
    this.seen.fill(-1);
  }

  /** What a disk of a replica holds. @throws WrongData */
  check(firstSector: number, bytes: Buffer, where: string): void {
    for (let i = 0; i * SECTOR_BYTES < bytes.length; i++) {
      const sector = firstSector + i;
      this.find(
        sector,
        bytes.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES),
        this.floorOf(sector),
        where,
      );
    }
  }

  private floorOf(sector: number): number {
    return Math.max(this.acked[sector]!, this.seen[sector]!);
  }

  private find(sector: number, bytes: Buffer, floor: number, who: string): Change {
    const mark = markOf(bytes);
    const history = this.histories[Math.floor(sector / SECTORS_PER_BLOCK)]!;
    if (mark !== null && (mark.seq === 0 ? mark.sector === 0 : mark.sector === sector)) {
      // Of several zeros the first that is legal: it takes the least away.
      for (const change of history) {
        if (change.seq === mark.seq && covers(change, sector) && change.endedAt > floor) return change;
      }
    }
    const found = mark === null ? `bytes of no write (${bytes.toString('hex', 0, 32)}...)` : nameOf(mark);
    const past = history.filter((change) => covers(change, sector)).slice(-8);
    throw new WrongData(
      `${who}: sector ${sector} (block ${Math.floor(sector / SECTORS_PER_BLOCK)}) has ${found}; legal is what ended after ` +
        `${floor}, of its last changes:\n${past.map((change) => `  ${tell(change)}`).join('\n')}`,
    );
  }

  private prune(block: number): void {
    let oldest = Number.POSITIVE_INFINITY;
    for (let i = block * SECTORS_PER_BLOCK; i < (block + 1) * SECTORS_PER_BLOCK; i++) {
      oldest = Math.min(oldest, this.durable[i]!);
    }
    this.histories[block] = this.histories[block]!.filter((change) => change.endedAt > oldest);
  }
}

function* blocksOf({ firstSector, sectors }: Change): Iterable<number> {
  const last = Math.floor((firstSector + sectors - 1) / SECTORS_PER_BLOCK);
  for (let block = Math.floor(firstSector / SECTORS_PER_BLOCK); block <= last; block++) yield block;
}

function covers(change: Change, sector: number): boolean {
  return sector >= change.firstSector && sector < change.firstSector + change.sectors;
}

function raise(floors: Float64Array, first: number, end: number, to: number): void {
  for (let i = first; i < end; i++) if (floors[i]! < to) floors[i] = to;
}

/** Null for a sector that is not one mark throughout. */
function markOf(bytes: Buffer): { sector: number; seq: number } | null {
  const alike = bytes.compare(bytes, 0, bytes.length - MARK_BYTES, MARK_BYTES) === 0;
  return alike ? { sector: bytes.readUInt32LE(0), seq: bytes.readUInt32LE(4) } : null;
}

function nameOf({ sector, seq }: { sector: number; seq: number }): string {
  return seq === 0 && sector === 0 ? 'zeros' : `write ${seq} of sector ${sector}`;
}

function tell({ kind, seq, issuedAt, endedAt, acknowledged }: Change): string {
  const end = endedAt === Number.POSITIVE_INFINITY ? 'under way' : `ended ${endedAt}`;
  return `${kind} ${seq || ''} issued ${issuedAt}, ${end}${acknowledged ? ', acknowledged' : ''}`;
}
