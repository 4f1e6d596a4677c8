import { asRawstorError } from '../common/errors.js';
import type { MethodName, Params, Result } from '../protocol/index.js';
import type { Context } from './context.js';
import { linkOptions, ServerLink } from './server-link.js';
import type { KnownOst } from './volumes.js';

const CONNECT_TIMEOUT_MS = 3000;

/** One connection an OST, made when it is first asked; one that fails is not asked again. */
export class OstLinks {
  readonly failures: string[] = [];
  private readonly context: Context;
  private readonly known: ReadonlyMap<string, KnownOst>;
  private readonly links = new Map<string, ServerLink | null>();

  constructor(context: Context, osts: readonly KnownOst[]) {
    this.context = context;
    this.known = new Map(osts.map((ost) => [ost.ostId, ost]));
  }

  usage(ostId: string, objectId: string): Promise<Result<'ost.usage'> | null> {
    return this.call(ostId, 'ost.usage', { objectId });
  }

  /** Null where it does not answer, which `failures` tells. */
  async call<M extends MethodName>(ostId: string, method: M, params: Params<M>): Promise<Result<M> | null> {
    try {
      const link = this.links.has(ostId) ? this.links.get(ostId)! : await this.open(ostId);
      if (link === null) return null;
      return await link.call(method, params, this.context.globals.timeout);
    } catch (error) {
      this.links.set(ostId, null);
      this.failures.push(`OST ${ostId} is not counted: ${asRawstorError(error).message}`);
      return null;
    }
  }

  close(): void {
    for (const link of this.links.values()) link?.close();
  }

  private async open(ostId: string): Promise<ServerLink> {
    const addresses = this.known.get(ostId)?.addresses ?? [];
    const link = await ServerLink.open(addresses, {
      ...linkOptions(this.context, CONNECT_TIMEOUT_MS),
      ostId,
    });
    this.links.set(ostId, link);
    return link;
  }
}
