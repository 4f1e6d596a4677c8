import { LIMITS } from '../../../common/limits.js';
import { CATALOG_LIMITS } from '../../../protocol/catalog-messages.js';
import type { ControlLink } from '../../control-link.js';

interface Put {
  readonly key: string;
  readonly value: Uint8Array;
}

const CALL_TIMEOUT_MS = 30_000;
const TOLD = 1000;

/** Puts recovered rows with their references, as many a message as it takes. */
export class RecoveredRows {
  /** The first of those that name data which is not there. */
  readonly withoutData: string[] = [];
  withoutDataCount = 0;
  private readonly mds: Pick<ControlLink, 'call'>;
  private readonly token: number;
  private readonly objects: ReadonlySet<string>;
  private puts: Put[] = [];
  private bytes = 0;

  /** @param objects all that are there, by id */
  constructor(mds: Pick<ControlLink, 'call'>, token: number, objects: ReadonlySet<string>) {
    this.mds = mds;
    this.token = token;
    this.objects = objects;
  }

  /** @param refs `ref/ID/VERSION/ENTRY` */
  async put(key: string, value: Uint8Array, refs: readonly Put[]): Promise<void> {
    if (refs.some((ref) => !this.objects.has(ref.key.split('/')[1] ?? ''))) {
      this.withoutDataCount++;
      if (this.withoutData.length < TOLD) this.withoutData.push(key);
    }
    for (const put of [{ key, value }, ...refs]) {
      const bytes = put.key.length + put.value.length + 32;
      const full = this.puts.length === CATALOG_LIMITS.operations || this.bytes + bytes > LIMITS.answerBytes;
      if (full) await this.flush();
      this.puts.push(put);
      this.bytes += bytes;
    }
  }

  async flush(): Promise<void> {
    const { token, puts } = this;
    this.puts = [];
    this.bytes = 0;
    if (puts.length > 0) await this.mds.call('mds.catalogRecoverRows', { token, puts }, CALL_TIMEOUT_MS);
  }
}
