import { asRawstorError, RawstorError } from '../../common/errors.js';
import type { Result, ScrubJob } from '../../protocol/index.js';
import type { Context } from '../context.js';
import { linkOptions, ServerLink } from '../server-link.js';
import type { KnownOst } from '../volumes.js';

export type DamagedBlock = Omit<Result<'ost.damage'>['blocks'][number], 'sum'>;

const CONNECT_TIMEOUT_MS = 3000;

/** One OST that is being scrubbed for this command. Once it has gone nothing more is asked of it. */
export class ScrubbedOst {
  readonly ostId: string;
  job: ScrubJob | null = null;
  /** Why it cannot be asked any more, '' while it can. */
  gone = '';
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
    const link = await openLink(context, ost);
    try {
      await link.call('ost.scrub', { objectId, bytesPerSec }, context.globals.timeout);
    } catch (error) {
      link.close();
      throw error;
    }
    return new ScrubbedOst(context, ost.ostId, link);
  }

  /** Ends the scrub that somebody asked for there. @returns whether there was one */
  static async cancel(context: Context, ost: KnownOst): Promise<boolean> {
    const { timeout } = context.globals;
    const link = await openLink(context, ost);
    try {
      const { job } = await link.call('ost.scrubStatus', {}, timeout);
      await link.call('ost.scrubCancel', {}, timeout);
      return job?.running === true;
    } finally {
      link.close();
    }
  }

  /** Asks how far it is; answers whether it has ended. */
  async poll(): Promise<boolean> {
    await this.ask(async (timeoutMs) => {
      ({ job: this.job } = await this.link.call('ost.scrubStatus', {}, timeoutMs));
    });
    return this.gone !== '' || this.job === null || !this.job.running;
  }

  /** What is damaged there; nothing where it has gone. */
  async damage(objectId: string | null): Promise<DamagedBlock[]> {
    const told = await this.ask((timeoutMs) => this.link.call('ost.damage', { objectId }, timeoutMs));
    return (told?.blocks ?? []).map(({ sum: _, ...block }) => block);
  }

  /** What its scrub lacks, '' for nothing. */
  get failure(): string {
    return this.gone !== '' ? this.gone : (this.job?.failure ?? 'it has started again meanwhile');
  }

  close(): void {
    this.link.close();
  }

  private async ask<T>(call: (timeoutMs: number) => Promise<T>): Promise<T | null> {
    if (this.gone !== '') return null;
    try {
      return await call(this.context.globals.timeout);
    } catch (error) {
      this.gone = `it went away: ${asRawstorError(error).toUserText()}`;
      return null;
    }
  }
}

async function openLink(context: Context, ost: KnownOst): Promise<ServerLink> {
  if (!ost.alive) throw new RawstorError('UNAVAILABLE', 'the OST is down', { where: ost.ostId });
  const { addresses, ostId } = ost;
  return await ServerLink.open(addresses, { ...linkOptions(context, CONNECT_TIMEOUT_MS), ostId });
}
