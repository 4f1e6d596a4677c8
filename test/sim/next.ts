import type { OstNode } from './ost-node.js';

/** Things that arrive at an OST and that a fault may wait for. */
export type Arrival = 'copy' | 'write' | 'flush' | 'list' | 'mark';

type Told = ((node: OstNode) => void) | null;

/** What faults wait for: each is told of the next one only. */
export class Next {
  /** A copy between OSTs is ordered of its target. */
  copy: Told = null;
  write: Told = null;
  flush: Told = null;
  /** An OST is asked for its newer regions. */
  list: Told = null;
  /** An OST is asked to make regions ready for the next tag. */
  mark: Told = null;
  /** A guest has opened the volume. */
  opened: (() => void) | null = null;

  tell(what: Arrival, node: OstNode): void {
    const told = this[what];
    this[what] = null;
    told?.(node);
  }

  tellOpened(): void {
    const { opened } = this;
    this.opened = null;
    opened?.();
  }

  /** The next one at this OST: those at others are let by. */
  at(what: Arrival, wanted: OstNode, act: () => void): void {
    const wait = (node: OstNode) => {
      if (node === wanted) act();
      else this[what] = wait;
    };
    this[what] = wait;
  }

  forget(): void {
    this.copy = null;
    this.write = null;
    this.flush = null;
    this.list = null;
    this.mark = null;
    this.opened = null;
  }
}
