import type { Clock, Timer } from '../common/clock.js';
import { type ErrorCode, RawstorError } from '../common/errors.js';
import { newId } from '../common/ids.js';
import type { AskedChange, ObjectInfo, VersionChange } from '../protocol/index.js';
import type { Caller } from './leases.js';

export interface AskedChangesParts {
  readonly clock: Clock;
  /** Tells the object's holder that there is something new. */
  readonly look: (id: string, reason: string) => void;
  /** Somebody may still carry it out. */
  readonly isHeld: (id: string) => Promise<boolean>;
}

interface Wish {
  readonly asked: AskedChange;
  readonly caller: Caller;
  /** Its compare-and-swap is being recorded: what becomes of that decides. */
  recording: boolean;
  /** What it ends with unless what is being recorded comes about. */
  withdrawn: RawstorError | null;
  readonly timers: Timer[];
  readonly done: (outcome: ObjectInfo | null) => void;
  readonly failed: (error: RawstorError) => void;
}

const HOLDER_LOOK_MS = 1000;

/**
 * Changes of versions that somebody waits for and an object's holder is to carry out. In memory: after a restart of
 * the MDS nobody waits any more, and what the holder does for a wish that is not here is refused.
 */
export class AskedChanges {
  private readonly parts: AskedChangesParts;
  /** By object, in the order of asking; the first is handed out. */
  private readonly wishes = new Map<string, Wish[]>();

  constructor(parts: AskedChangesParts) {
    this.parts = parts;
  }

  /**
   * Waits until the holder has done it. @returns null when nobody holds the object any more
   * @throws RawstorError TIMEOUT: it has not been done and will not be; what the holder refused it with
   */
  ask(id: string, change: VersionChange, timeoutMs: number, caller: Caller): Promise<ObjectInfo | null> {
    return new Promise((done, failed) => {
      const { clock, look } = this.parts;
      const asked = { id: newId(clock.wallMs()), change };
      const wish: Wish = { asked, caller, recording: false, withdrawn: null, timers: [], done, failed };
      wish.timers.push(
        clock.after(timeoutMs, () => this.withdraw(id, wish, late(timeoutMs))),
        clock.every(HOLDER_LOOK_MS, () => void this.lookForHolder(id, wish)),
      );
      this.wishes.set(id, [...(this.wishes.get(id) ?? []), wish]);
      look(id, 'a change is asked for');
    });
  }

  /** What the holder is to do next. */
  first(id: string): AskedChange | null {
    return this.wishes.get(id)?.find((wish) => wish.withdrawn === null)?.asked ?? null;
  }

  /** Its compare-and-swap is about to be recorded. False: nobody waits for it any more. */
  begin(id: string, askedId: string): boolean {
    const wish = this.find(id, askedId);
    if (wish === undefined || (wish.withdrawn !== null && !wish.recording)) return false;
    wish.recording = true;
    return true;
  }

  /** @param object as recorded; null when it was not */
  end(id: string, askedId: string, object: ObjectInfo | null): void {
    const wish = this.find(id, askedId);
    if (wish?.recording !== true) return;
    wish.recording = false;
    if (object !== null) {
      this.forget(id, wish);
      wish.done(object);
    } else if (wish.withdrawn !== null) this.withdraw(id, wish, wish.withdrawn);
  }

  /** The holder cannot do it. */
  refuse(id: string, askedId: string, code: ErrorCode, reason: string): void {
    const wish = this.find(id, askedId);
    if (wish !== undefined) this.withdraw(id, wish, new RawstorError(code, reason));
  }

  /** Nobody holds the object: who waits may do it. */
  released(id: string): void {
    for (const wish of [...(this.wishes.get(id) ?? [])]) {
      if (wish.recording) continue;
      this.forget(id, wish);
      wish.done(null);
    }
  }

  /** Who asked is gone. */
  lost(caller: Caller): void {
    const error = new RawstorError('CONNECTION_LOST', 'who asked for the change is gone');
    for (const [id, wishes] of [...this.wishes]) {
      for (const wish of wishes) if (wish.caller === caller) this.withdraw(id, wish, error);
    }
  }

  private async lookForHolder(id: string, wish: Wish): Promise<void> {
    const held = await this.parts.isHeld(id).catch(() => false);
    if (held || this.find(id, wish.asked.id) === undefined) return;
    this.released(id);
  }

  private withdraw(id: string, wish: Wish, error: RawstorError): void {
    if (wish.recording) {
      wish.withdrawn ??= error;
      return;
    }
    this.forget(id, wish);
    wish.failed(error);
  }

  private forget(id: string, wish: Wish): void {
    for (const timer of wish.timers) timer.cancel();
    const left = (this.wishes.get(id) ?? []).filter((other) => other !== wish);
    if (left.length === 0) this.wishes.delete(id);
    else {
      this.wishes.set(id, left);
      this.parts.look(id, 'another change is asked for');
    }
  }

  private find(id: string, askedId: string): Wish | undefined {
    return this.wishes.get(id)?.find((wish) => wish.asked.id === askedId);
  }
}

function late(timeoutMs: number): RawstorError {
  return new RawstorError('TIMEOUT', `its holder has not done it within ${Math.round(timeoutMs)} ms`, {
    hint: 'it will not be done any more: try again, or with a longer --timeout',
  });
}
