import { hostname } from 'node:os';
import { Connector } from '../client/index.js';
import type { Clock } from '../common/clock.js';
import type { Io } from '../io/index.js';
import type { ObjectInfo, OstPeer, Result } from '../protocol/index.js';
import type { Store } from './store.js';

/** How long an answer is waited for by who asks for a file's attributes; what comes later is told the next one. */
const WAIT_MS = 150;
const CALL_MS = 2000;
/** An OST that did not answer is not waited for again so soon. */
const SILENT_MS = 10_000;
const FRESH_MS = 1000;
/** Of a file that is being written. */
const CHANGING_MS = 100;
/** Files whose use is remembered. */
const KEPT_MAX = 4096;
/** OSTs asked at the same time, all files together. */
const ASKED_MAX = 32;

interface Known {
  usedBytes: number;
  /** When it was asked for, and when all OSTs told it. */
  atMs: number;
  toldMs: number;
  asking: Promise<void> | null;
}

interface Link {
  peer: Promise<OstPeer> | null;
  silentUntilMs: number;
}

export interface UsageParts {
  readonly io: Io;
  readonly clock: Clock;
  readonly store: Store;
}

/**
 * What files really use, as their OSTs say: of one copy, on the average. Asked for beside everything else: an OST that does not answer
 * delays nobody by more than a moment, and then not again for a while.
 */
export class Usage {
  private readonly parts: UsageParts;
  private readonly connector: Connector;
  private readonly known = new Map<string, Known>();
  private readonly links = new Map<string, Link>();
  private readonly waiting: (() => void)[] = [];
  private asked = 0;

  constructor(parts: UsageParts) {
    this.parts = parts;
    const name = `rawstor-mount@${hostname()}:${process.pid}`;
    this.connector = new Connector({ ...parts, identity: { role: 'client', clusterId: '', name } });
  }

  /**
   * Of the head, or of one frozen version. `changing`: somebody writes to it, or did so just now. Null where nobody has told it: a file
   * that takes nothing is one of which programs read nothing (`tar --sparse`), so that is said only when it is known.
   */
  async of(object: ObjectInfo, version: number | null, changing: boolean): Promise<number | null> {
    const { clock } = this.parts;
    const key = `${object.id}@${version ?? 'head'}`;
    let known = this.known.get(key);
    if (known === undefined) {
      const atMs = Number.NEGATIVE_INFINITY;
      known = { usedBytes: 0, atMs, toldMs: atMs, asking: null };
      if (this.known.size >= KEPT_MAX) this.known.delete(this.known.keys().next().value!);
      this.known.set(key, known);
    }
    const { usedBytes } = known;
    if (usedBytes > 0 && clock.nowMs() - known.atMs < (changing ? CHANGING_MS : FRESH_MS)) return usedBytes;
    known.asking ??= this.ask(object, version ?? object.headVersion, known);
    const askedMs = clock.nowMs();
    const silent = object.members.some(({ ostId }) => this.isSilent(ostId));
    if (!silent) await Promise.race([known.asking, clock.sleep(WAIT_MS)]);
    return known.usedBytes === 0 && known.toldMs < askedMs ? null : known.usedBytes;
  }

  close(): void {
    for (const { peer } of this.links.values()) void peer?.then((one) => one.destroy()).catch(() => {});
    this.links.clear();
  }

  private async ask(object: ObjectInfo, version: number, known: Known): Promise<void> {
    let totalBytes = 0;
    let missing = 0;
    await Promise.all(
      object.members.map(async ({ ostId }) => {
        const usage = await this.usage(ostId, object.id);
        if (usage === null) missing++;
        else totalBytes += ofVersion(usage, version);
      }),
    );
    const { length } = object.members;
    known.asking = null;
    known.atMs = this.parts.clock.nowMs();
    if (missing === 0) known.toldMs = known.atMs;
    // Those that did not answer are taken to have what the others have.
    if (missing < length) known.usedBytes = (totalBytes * length) / (length - missing) / object.replicas;
  }

  private isSilent(ostId: string): boolean {
    return (this.links.get(ostId)?.silentUntilMs ?? 0) > this.parts.clock.nowMs();
  }

  private async usage(ostId: string, objectId: string): Promise<Result<'ost.usage'> | null> {
    if (this.isSilent(ostId)) return null;
    while (this.asked >= ASKED_MAX) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.asked++;
    let link = this.links.get(ostId);
    if (link === undefined) {
      link = { peer: null, silentUntilMs: 0 };
      this.links.set(ostId, link);
    }
    try {
      link.peer ??= this.connect(ostId);
      return await (await link.peer).call('ost.usage', { objectId }, CALL_MS);
    } catch {
      void link.peer?.then((peer) => peer.destroy()).catch(() => {});
      link.peer = null;
      link.silentUntilMs = this.parts.clock.nowMs() + SILENT_MS;
      return null;
    } finally {
      this.asked--;
      this.waiting.shift()?.();
    }
  }

  private async connect(ostId: string): Promise<OstPeer> {
    const { osts } = await this.parts.store.cluster.mds.call('mds.listOsts', {}, CALL_MS);
    const addresses = osts.find((ost) => ost.ostId === ostId)?.addresses ?? [];
    return await this.connector.connect(ostId, addresses, CALL_MS);
  }
}

function ofVersion({ allocatedBytes, versions }: Result<'ost.usage'>, version: number): number {
  if (versions.length === 0) return allocatedBytes;
  return versions.find((one) => one.version === version)?.allocatedBytes ?? 0;
}
