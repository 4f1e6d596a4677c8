/**
 * Range locks of one volume (consistency I3): two requests that overlap are never in flight at once unless
 * both are reads. Pure bookkeeping; nothing is allocated for a lock that is granted at once.
 *
 * Active locks are scanned linearly: in-flight requests are bounded by LIMITS.volumeInFlight, and a scan over
 * flat arrays of the few that are usually there costs less than any tree.
 */
export interface LockHolder {
  lockStart: number;
  /** Exclusive end. */
  lockEnd: number;
  lockExclusive: boolean;
  /** Kept by RangeLocks; -1 when not held. */
  lockSlot: number;
  /** The lock it waited for is held now. */
  lockGranted(): void;
  /** It keeps others away and writes nothing itself: no replica misses anything of it. */
  readonly lockWritesNothing?: boolean;
}

export class RangeLocks {
  private starts = new Float64Array(64);
  private ends = new Float64Array(64);
  private exclusive = new Uint8Array(64);
  private readonly holders: LockHolder[] = [];
  private waiting: LockHolder[] = [];

  get heldCount(): number {
    return this.holders.length;
  }

  get waitingCount(): number {
    return this.waiting.length;
  }

  /** True when held at once; otherwise `lockGranted` follows, first come first served among overlapping. */
  acquire(holder: LockHolder): boolean {
    if (this.collides(holder) || this.collidesWithWaiting(holder, this.waiting.length)) {
      this.waiting.push(holder);
      return false;
    }
    this.hold(holder);
    return true;
  }

  release(holder: LockHolder): void {
    const slot = holder.lockSlot;
    holder.lockSlot = -1;
    const last = this.holders.pop()!;
    if (last !== holder) {
      const from = this.holders.length;
      this.holders[slot] = last;
      this.starts[slot] = this.starts[from]!;
      this.ends[slot] = this.ends[from]!;
      this.exclusive[slot] = this.exclusive[from]!;
      last.lockSlot = slot;
    }
    if (this.waiting.length > 0) this.grantWaiting(holder);
  }

  /** Takes back a request that has not been granted. */
  cancel(holder: LockHolder): void {
    const at = this.waiting.indexOf(holder);
    if (at < 0) return;
    this.waiting.splice(at, 1);
    this.grantWaiting(holder);
  }

  /** Calls for every held range, for the list of regions with a write in flight (I9). */
  forEachExclusive(visit: (start: number, end: number, holder: LockHolder) => void): void {
    for (let i = 0; i < this.holders.length; i++) {
      if (this.exclusive[i] === 1) visit(this.starts[i]!, this.ends[i]!, this.holders[i]!);
    }
  }

  private hold(holder: LockHolder): void {
    const slot = this.holders.length;
    if (slot === this.starts.length) this.grow();
    this.holders.push(holder);
    holder.lockSlot = slot;
    this.starts[slot] = holder.lockStart;
    this.ends[slot] = holder.lockEnd;
    this.exclusive[slot] = holder.lockExclusive ? 1 : 0;
  }

  private collides(holder: LockHolder): boolean {
    const { lockStart: start, lockEnd: end, lockExclusive } = holder;
    const count = this.holders.length;
    for (let i = 0; i < count; i++) {
      if (this.starts[i]! < end && start < this.ends[i]! && (lockExclusive || this.exclusive[i] === 1))
        return true;
    }
    return false;
  }

  private collidesWithWaiting(holder: LockHolder, before: number): boolean {
    for (let i = 0; i < before; i++) {
      const other = this.waiting[i]!;
      if (
        other.lockStart < holder.lockEnd &&
        holder.lockStart < other.lockEnd &&
        (holder.lockExclusive || other.lockExclusive)
      ) {
        return true;
      }
    }
    return false;
  }

  private grantWaiting(freed: LockHolder): void {
    const granted: LockHolder[] = [];
    for (let i = 0; i < this.waiting.length; i++) {
      const holder = this.waiting[i]!;
      const touches = holder.lockStart < freed.lockEnd && freed.lockStart < holder.lockEnd;
      if (!touches || this.collides(holder) || this.collidesWithWaiting(holder, i)) continue;
      this.waiting.splice(i--, 1);
      this.hold(holder);
      granted.push(holder);
    }
    // Only now: a granted holder may release at once and come back here.
    for (const holder of granted) holder.lockGranted();
  }

  private grow(): void {
    const size = this.starts.length * 2;
    const wider = <T extends Float64Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    this.starts = wider(this.starts, new Float64Array(size));
    this.ends = wider(this.ends, new Float64Array(size));
    this.exclusive = wider(this.exclusive, new Uint8Array(size));
  }
}
