import { asRawstorError } from '../../common/errors.js';
import type { OstCore } from '../core.js';

/** Records looked at in one turn. */
const PAGE = 256;

/** Whether any object here has layers. */
export function anyLayered({ records }: Pick<OstCore, 'records'>): boolean {
  for (let after: string | null = null; ; ) {
    const ids: string[] = records.objectIds(after, PAGE);
    for (const id of ids) {
      const record = records.object(id);
      if (record !== null && (record.snapshots.length > 0 || record.parent !== null)) return true;
    }
    if (ids.length < PAGE) return false;
    after = ids.at(-1)!;
  }
}

/**
 * Opens each chunk whose holes a power loss has left in doubt, which settles them (ChunkCache). Nobody waits for it: who comes sooner settles what he
 * opens. Only when all are settled that is on record: the next process would else take the holes for what they look like.
 */
export class Settling {
  private readonly core: OstCore;
  private running: Promise<void> | null = null;

  constructor(core: OstCore) {
    this.core = core;
  }

  start(): void {
    const { boot, env } = this.core;
    if (!boot.unsettled) return;
    this.running = this.run().catch((error) => {
      const reason = asRawstorError(error).toUserText();
      env.log.warn({ reason }, 'holes are settled when their chunks are opened, and after the next start');
    });
  }

  /** `core.closing` is set. */
  async close(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    const { core } = this;
    const { records, env } = core;
    for (let after: string | null = null; ; ) {
      const ids: string[] = records.objectIds(after, PAGE);
      for (const id of ids) {
        await env.clock.sleep(0);
        if (core.closing) return;
        if (!core.removal.isRemoved(id)) await this.settle(id);
      }
      if (ids.length < PAGE) break;
      after = ids.at(-1)!;
    }
    if (!core.closing) await core.boot.holesSettled();
  }

  private async settle(id: string): Promise<void> {
    const { core } = this;
    const object = core.object(id, null);
    if (object.record.snapshots.length === 0 && object.record.parent === null) return;
    let from = { chunk: 0, version: 0, page: 0 };
    for (;;) {
      const rows = core.records.scanRegions(object.key, from.chunk, from.version, from.page, PAGE);
      for (const { chunk, version, epochs } of rows) {
        if (core.closing || core.removal.isRemoved(id)) return;
        if (!epochs.some((epoch) => epoch > object.sealAtStart)) continue;
        await core.chunks.ready(core.chunks.chunk(object, chunk, version));
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE) return;
      from = { chunk: last.chunk, version: last.version, page: last.page + 1 };
      await core.env.clock.sleep(0);
    }
  }
}
