import { RawstorError } from '../../common/errors.js';
import type { Result, ScrubJob } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { linkOptions, ServerLink } from '../server-link.js';
import type { KnownOst } from '../volumes.js';

export type DamagedBlock = Omit<Result<'ost.damage'>['blocks'][number], 'sum'>;

const CONNECT_TIMEOUT_MS = 3000;

/** One OST that is being scrubbed for this command. */
export class ScrubbedOst {
  readonly ostId: string;
  job: ScrubJob | null = null;
  private readonly context: Context;
  private readonly link: ServerLink;

  private constructor(context: Context, ostId: string, link: ServerLink) {
    this.context = context;
    this.ostId = ostId;
    this.link = link;
  }

  /** @throws RawstorError UNAVAILABLE, BUSY, NOT_SUPPORTED where checksums are off */
  static async begin(
    context: Context,
    ost: KnownOst,
    objectId: string | null,
    bytesPerSec: number,
  ): Promise<ScrubbedOst> {
    if (!ost.alive) throw new RawstorError('UNAVAILABLE', 'the OST is down', { where: ost.ostId });
    const link = await ServerLink.open(ost.addresses, linkOptions(context, CONNECT_TIMEOUT_MS));
    try {
      await link.call('ost.scrub', { objectId, bytesPerSec }, context.globals.timeout);
    } catch (error) {
      link.close();
      throw error;
    }
    return new ScrubbedOst(context, ost.ostId, link);
  }

  /** Asks how far it is; answers whether it has ended. */
  async poll(): Promise<boolean> {
    ({ job: this.job } = await this.link.call('ost.scrubStatus', {}, this.context.globals.timeout));
    return this.job === null || !this.job.running;
  }

  async damage(objectId: string | null): Promise<DamagedBlock[]> {
    const { blocks } = await this.link.call('ost.damage', { objectId }, this.context.globals.timeout);
    return blocks.map(({ sum: _, ...block }) => block);
  }

  async cancel(): Promise<void> {
    await this.link.call('ost.scrubCancel', {}, 3000).catch(() => {});
  }

  close(): void {
    this.link.close();
  }
}
