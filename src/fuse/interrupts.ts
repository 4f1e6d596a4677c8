import { readFileSync } from 'node:fs';
import type { Clock } from '../common/clock.js';

/** Nearly all that is interrupted is done by then. */
const LOOK_MS = 1000;
/** A signal that ends nobody disturbs no I/O that waits for an OST to be given up; longer ones may be stuck. */
const LOOKS_MAX = 15;
const SIGKILL_BIT = 1n << 8n;

/** Whether a thread is to be killed and waits for us. */
export function isKilled(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const masks = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)];
    return masks.some(([, mask]) => (BigInt(`0x${mask}`) & SIGKILL_BIT) !== 0n);
  } catch {
    return false;
  }
}

/** Gives a request up that was interrupted: soon where its program is killed, else only when it takes far too long. */
export function giveUpLater(
  clock: Clock,
  killed: () => boolean,
  isUnderWay: () => boolean,
  giveUp: () => void,
): void {
  let looks = 0;
  const look = () => {
    if (!isUnderWay()) return;
    if (++looks >= LOOKS_MAX || killed()) giveUp();
    else clock.after(LOOK_MS, look);
  };
  clock.after(LOOK_MS, look);
}
