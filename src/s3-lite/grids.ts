import type { Grid, ImmutableStore } from '../client/index.js';
import type { Clock } from '../common/clock.js';

export interface GridLimits {
  /** Uploads with a grid of their own that this process keeps open; where all are in use, parts of more go anywhere. */
  readonly open: number;
  /** One that nothing came for in so long makes room for another. */
  readonly idleMs: number;
}

export const GRID_LIMITS: GridLimits = { open: 64, idleMs: 60_000 };

interface HeldGrid {
  readonly grid: Promise<Grid>;
  /** Key of the row of its upload. */
  readonly row: string;
  /** Once it is there. */
  opened: Grid | null;
  usedMs: number;
}

/** The objects that parts of uploads go to, by upload, while they are open here. */
export class Grids {
  private readonly store: ImmutableStore;
  private readonly clock: Clock;
  private readonly limits: GridLimits;
  /** The one that was used last is the last. */
  private readonly held = new Map<string, HeldGrid>();

  constructor(store: ImmutableStore, clock: Clock, limits: GridLimits) {
    this.store = store;
    this.clock = clock;
    this.limits = limits;
  }

  /** To write a part to. @param row key of the row of its upload. @returns undefined where there is no room for one */
  async take(id: string, row: string): Promise<Grid | undefined> {
    const held = this.held.get(id) ?? this.begin(id, row);
    if (held === undefined) return undefined;
    held.usedMs = this.clock.nowMs();
    this.held.delete(id);
    this.held.set(id, held);
    return held.grid;
  }

  /** What is open for it. */
  async get(id: string): Promise<Grid | undefined> {
    return this.held.get(id)?.grid;
  }

  /** Nothing more is written to it. */
  async end(id: string): Promise<Grid | undefined> {
    const grid = await this.held.get(id)?.grid.catch(() => undefined);
    this.held.delete(id);
    await grid?.close();
    return grid;
  }

  rows(): { id: string; row: string }[] {
    return [...this.held].map(([id, { row }]) => ({ id, row }));
  }

  async close(): Promise<void> {
    const grids = [...this.held.values()];
    this.held.clear();
    await Promise.allSettled(grids.map(async ({ grid }) => (await grid).close()));
  }

  private begin(id: string, row: string): HeldGrid | undefined {
    const full = this.held.size >= this.limits.open;
    const idle = full ? this.idle() : undefined;
    if (full && idle === undefined) return undefined;
    const grid = this.letGo(idle).then(() => this.store.grid());
    const held = { grid, row, opened: null, usedMs: 0 } as HeldGrid;
    this.held.set(id, held);
    grid.then(
      (opened) => {
        held.opened = opened;
      },
      () => {
        if (this.held.get(id) === held) this.held.delete(id);
      },
    );
    return held;
  }

  /** Takes the one out that was not used for the longest. */
  private idle(): Grid | undefined {
    const beforeMs = this.clock.nowMs() - this.limits.idleMs;
    for (const [id, { opened, usedMs }] of this.held) {
      if (opened === null || opened.isUsed || usedMs > beforeMs) continue;
      this.held.delete(id);
      return opened;
    }
    return undefined;
  }

  /** Its upload may be completed yet: what lies there stays as it is, and later parts get another. */
  private async letGo(grid: Grid | undefined): Promise<void> {
    // Cut to what came; where that fails, its next reader freezes it.
    await grid?.seal(0).catch(() => {});
    await grid?.close();
  }
}
