import type { Timer } from '../../common/clock.js';
import { asRawstorError } from '../../common/errors.js';
import { LIMITS } from '../../common/limits.js';
import type { Result } from '../../protocol/messages.js';
import type { Drain } from '../drain.js';
import type { Member } from '../member.js';
import { chunkLength } from '../slicing.js';
import type { VolumeState } from '../volume-state.js';
import { copySource, orderCopy, withRangeLocked } from './copy.js';

/** A read or an event tells of the first block; those next to it are found in the same moment. */
const GATHER_MS = 50;
/** While something could not be repaired. */
const RETRY_MS = 30_000;
const CALL_TIMEOUT_MS = 20_000;

type DamagedBlock = Result<'ost.damage'>['blocks'][number];

/** A damaged block, by its offset in the volume. */
export interface DamagedPlace {
  readonly ostId: string;
  readonly offset: number;
}

/**
 * Repairs blocks whose checksum is wrong on one OST: under the range lock it pulls them from another replica in sync, which
 * verifies its own checksum when it is read. What no replica has whole stays as it is, and reads of it fail.
 */
export class Repair {
  repairedBlocks = 0;
  private readonly state: VolumeState;
  private readonly writes: Drain;
  private readonly waiting = new Set<Member>();
  private readonly unrepaired = new Map<Member, readonly DamagedBlock[]>();
  private readonly told = new Set<string>();
  private timer: Timer | null = null;
  private running: Promise<void> | null = null;
  /** Somebody was told of since the last look began. */
  private fresh = false;

  constructor(state: VolumeState, writes: Drain) {
    this.state = state;
    this.writes = writes;
  }

  /** Listens to what the OSTs find. */
  start(): void {
    for (const member of this.state.members) this.listen(member);
  }

  /** Also to one that comes later, by a move. */
  listen(member: Member): Member {
    member.onDamaged = () => this.look(member);
    if (member.damaged) this.look(member);
    return member;
  }

  /** Some block is damaged on this OST. */
  look(member: Member): void {
    this.waiting.add(member);
    this.fresh = true;
    this.arrange(GATHER_MS);
  }

  /** What no other replica could give, as last looked at; of those that have left the set nothing is told any more. */
  damaged(): DamagedPlace[] {
    const { members, object } = this.state;
    return members.flatMap((member) =>
      (this.unrepaired.get(member) ?? []).map(({ chunk, offset }) => ({
        ostId: member.ostId,
        offset: chunk * object.chunkSizeBytes + offset,
      })),
    );
  }

  stop(): void {
    this.timer?.cancel();
    this.waiting.clear();
  }

  /** What a copy under way has repaired is to be flushed before a close is called clean: its old checksum is gone. */
  async settled(): Promise<void> {
    await this.running;
  }

  private arrange(delayMs: number): void {
    if (this.running !== null || this.over) return;
    this.timer?.cancel();
    this.timer = this.state.env.clock.after(delayMs, () => {
      this.running = this.run()
        .catch((error) => this.state.env.log.error({ error: String(error) }, 'repair failed'))
        .finally(() => {
          this.running = null;
          if (this.waiting.size > 0) this.arrange(this.fresh ? GATHER_MS : RETRY_MS);
        });
    });
  }

  private get over(): boolean {
    return this.state.fatal !== null || this.state.closing;
  }

  private async run(): Promise<void> {
    const members = [...this.waiting];
    this.waiting.clear();
    this.fresh = false;
    for (const member of members) {
      if (this.over) return;
      if (!member.readable) {
        // It may be on its way into the set. Once away it tells what it knows when it is attached again.
        if (member.attached) this.waiting.add(member);
        continue;
      }
      const left = await this.repairAll(member);
      if (left !== null) this.unrepaired.set(member, left);
      if (left === null || left.length > 0) this.waiting.add(member);
    }
    for (const member of this.unrepaired.keys()) {
      if (!this.state.members.includes(member)) this.unrepaired.delete(member);
    }
  }

  /** Answers what is left damaged; null where that is not known. */
  private async repairAll(member: Member): Promise<DamagedBlock[] | null> {
    const { state } = this;
    const left: DamagedBlock[] = [];
    let blocks: DamagedBlock[];
    try {
      ({ blocks } = await member.peer!.call('ost.damage', { objectId: state.object.id }, CALL_TIMEOUT_MS));
    } catch (error) {
      state.env.log.warn(
        { ostId: member.ostId, reason: asRawstorError(error).message },
        'damage cannot be listed',
      );
      return null;
    }
    for (const block of blocks) {
      if (this.over || !member.readable) return blocks;
      const repaired = await this.repairOne(member, block);
      const facts = { volume: state.name, ostId: member.ostId, chunk: block.chunk, offset: block.offset };
      if (repaired) {
        this.repairedBlocks++;
        state.env.log.warn(facts, 'a damaged block is repaired from another replica');
        continue;
      }
      left.push(block);
      const key = `${member.ostId} ${block.chunk} ${block.offset}`;
      if (this.told.has(key) || this.told.size >= LIMITS.damagedBlocks) continue;
      this.told.add(key);
      state.env.log.error(facts, 'a damaged block cannot be repaired: no other replica has it');
    }
    return left;
  }

  private async repairOne(member: Member, block: DamagedBlock): Promise<boolean> {
    const { state } = this;
    const { chunk, offset, chunkVersion: version } = block;
    const { chunkSizeBytes, headVersion, snapshots } = state.object;
    const frozen = snapshots.find((one) => one.version === version);
    const sizeBytes = version === headVersion ? state.object.sizeBytes : (frozen?.sizeBytes ?? 0);
    const length = Math.min(LIMITS.blockBytes, chunkLength(chunk, sizeBytes, chunkSizeBytes) - offset);
    if (length <= 0) return false;
    const start = chunk * chunkSizeBytes + offset;
    return await withRangeLocked(state, { start, end: start + length }, async () => {
      // Replicas may differ there, and which is right is decided for the region as a whole.
      if (state.unreconciled.overlaps(start, start + length, state.regionSizeBytes)) return false;
      const writing = this.writes.begin();
      try {
        return await this.copyWhole(member, chunk, offset, length, version);
      } finally {
        this.writes.end(writing);
      }
    });
  }

  /**
   * Tagged and sealed like a write: the sums of the region are gone with the first change, so what comes back when power
   * is lost before it is durable would be damage that nobody knows of.
   */
  private async copyWhole(
    member: Member,
    chunk: number,
    offset: number,
    length: number,
    version: number,
  ): Promise<boolean> {
    const { state } = this;
    const start = chunk * state.object.chunkSizeBytes + offset;
    state.unsealed.note(start, start + length, state.env.clock.nowMs());
    const failed: Member[] = [];
    for (;;) {
      const source = copySource(state.placement(chunk), member, failed);
      if (source === null || !member.readable) return false;
      const outcome = await orderCopy(state, source, member, chunk, offset, length, {
        version,
        tag: state.tag,
      });
      if (outcome === 'copied' || outcome === 'target') return outcome === 'copied';
      failed.push(source);
    }
  }
}
