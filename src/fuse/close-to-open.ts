import type { Clock } from '../common/clock.js';
import { Errno } from './constants.js';
import { Refusal } from './errno.js';
import type { Nodes } from './nodes.js';
import type { OpenFiles } from './open-files.js';

/** How long a file stays open for who is to look at it again. */
const HELD_MS = 1000;

export interface CloseToOpenParts {
  readonly clock: Clock;
  readonly nodes: Nodes;
  readonly files: OpenFiles;
}

/**
 * Who opens a file finds it as long as who closed it before has left it, on whatever machine. The kernel goes by the size that it was
 * told within the second before: with that a program would append over what was written elsewhere. So where the size is another one the
 * open is answered ESTALE; the kernel looks at the name again, which tells it, and opens again. The lease stays here for so long, so that the
 * size stays too.
 */
export class CloseToOpen {
  private readonly parts: CloseToOpenParts;
  /** Opens that were answered so, by node and thread. */
  private readonly held = new Map<string, () => void>();

  constructor(parts: CloseToOpenParts) {
    this.parts = parts;
  }

  /** @param pid the thread that asks, as the kernel numbers them. @throws Refusal ESTALE; what `open` throws */
  async open(nodeId: number, pid: number, open: () => Promise<number>): Promise<number> {
    const key = `${nodeId} ${pid}`;
    const { files, nodes } = this.parts;
    const letGo = this.held.get(key);
    try {
      const number = await open();
      const file = files.handle(number)?.file;
      // A thread that has just been told so has looked, or cannot: of /proc/self/fd/N there is no name to look at.
      if (letGo !== undefined || file === undefined || nodes.told(nodeId) === file.sizeBytes) return number;
      this.hold(key, number);
      throw new Refusal(Errno.ESTALE);
    } finally {
      letGo?.();
    }
  }

  private hold(key: string, number: number): void {
    const { clock, files } = this.parts;
    const letGo = () => {
      timer.cancel();
      if (this.held.get(key) === letGo) this.held.delete(key);
      void files.release(number);
    };
    const timer = clock.after(HELD_MS, letGo);
    this.held.set(key, letGo);
  }
}
