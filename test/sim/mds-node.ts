import { asRawstorError, RawstorError } from '../../src/common/errors.js';
import { placeChunkOf } from '../../src/common/placement.js';
import { type Random, seededRandom } from '../../src/common/random.js';
import { Mds, MemoryStore, type MetadataStore, type RebuildPlan } from '../../src/mds/index.js';
import { fillStore } from '../../src/mds/rebuild/write.js';
import type { StoreOutcome, StoreTransaction } from '../../src/mds/store.js';
import { decodeStored, OBJECT_PREFIX, type StoredObject } from '../../src/mds/stored-object.js';
import {
  EVENT_NOTICE,
  type MethodName,
  type Notice,
  type ObjectRecord,
  type Params,
  type Result,
} from '../../src/protocol/index.js';
import type { Network, Pipe } from './network.js';
import { roundTrip } from './peer.js';
import { SimProcess } from './process.js';
import type { World } from './world.js';

const CONNECT_TIMEOUT_MS = 1000;

class PeekableStore extends MemoryStore {
  onObject: (before: StoredObject, after: StoredObject) => void = () => {};
  peek(key: string): Uint8Array | undefined {
    return this.latest.get(key);
  }
  keys(prefix: string): string[] {
    return [...this.latest.keys()].filter((key) => key.startsWith(prefix));
  }
  private readonly latest = new Map<string, Uint8Array>();
  override async transact(transaction: StoreTransaction): Promise<StoreOutcome> {
    const outcome = await super.transact(transaction);
    if (outcome.committed) {
      for (const { key, value } of transaction.puts ?? []) {
        const before = this.latest.get(key);
        this.latest.set(key, value);
        if (before === undefined || !key.startsWith(OBJECT_PREFIX)) continue;
        this.onObject(decodeStored(key, before), decodeStored(key, value));
      }
      for (const key of transaction.deletes ?? []) this.latest.delete(key);
    }
    return outcome;
  }
}

/** The metadata server: a store that stays, and processes on it. */
export class MdsNode {
  readonly name = 'mds';
  process: SimProcess | null = null;
  mds: Mds | null = null;
  /** A fault that waits for the next compare-and-swap to be recorded. */
  onNextSwap: (() => void) | null = null;
  private peeked: { bytes: Uint8Array; stored: StoredObject } | null = null;
  /** By connection: who is told what the MDS says unasked. */
  readonly listeners = new WeakMap<object, (name: string, params: unknown) => void>();
  private readonly world: World;
  /** Its store is lost, and not made anew yet. */
  rebuilding = false;
  /** A volume that the last rebuild has left out. */
  leftOut: string | null = null;
  /** What rebuilds did not bring back, half made as it was: nobody may remove what OSTs have of it. */
  readonly unknown = new Set<string>();
  private store = new PeekableStore();
  private readonly random: Random;

  constructor(world: World, onObject: (before: StoredObject, after: StoredObject) => void) {
    this.world = world;
    this.store.onObject = onObject;
    this.random = seededRandom(world.seed ^ 0x5eed);
  }

  start(): void {
    const process = new SimProcess(this.world, this.name);
    this.process = process;
    this.mds = null;
    const store = slowStore(this.store, process);
    const onNotice = (caller: object, notice: Notice) => {
      this.world.count('notices');
      const pipe = caller as Pipe;
      pipe.send(1, `notice ${notice.what}`, () => this.listeners.get(pipe)?.(EVENT_NOTICE, { ...notice }));
    };
    const { clock } = process;
    Mds.start({ store, clusterId: 'sim', clock, random: this.random, onNotice }).then((mds) => {
      if (this.process === process) this.mds = mds;
    });
  }

  /** Everything it knew is lost; this is what it knows from now on. */
  async replace(plan: RebuildPlan): Promise<void> {
    const { onObject } = this.store;
    this.store = new PeekableStore();
    await fillStore(this.store, plan, 0);
    this.store.onObject = onObject;
  }

  kill(): void {
    this.process?.kill();
    this.mds = null;
  }

  /** What is on record of an object that is there. */
  peek(id: string): StoredObject {
    return this.find(id)!;
  }

  /** Everything that is on record. */
  all(): StoredObject[] {
    return this.store.keys(OBJECT_PREFIX).map((key) => this.find(key.slice(OBJECT_PREFIX.length))!);
  }

  /** Keys of other records. */
  keys(prefix: string): string[] {
    return this.store.keys(prefix);
  }

  find(id: string): StoredObject | null {
    const key = OBJECT_PREFIX + id;
    const bytes = this.store.peek(key);
    if (bytes === undefined) return null;
    if (this.peeked?.bytes !== bytes) this.peeked = { bytes, stored: decodeStored(key, bytes) };
    return this.peeked.stored;
  }

  swapRecorded(): void {
    const { onNextSwap } = this;
    this.onNextSwap = null;
    onNextSwap?.();
  }

  placement(object: ObjectRecord, chunk: number): readonly string[] {
    return placeChunkOf(object, chunk);
  }
}

/** Transactions take time, and may be durable although nobody was told. */
function slowStore(store: MetadataStore, process: SimProcess): MetadataStore {
  const wait = (typicalMs: number) =>
    new Promise<void>((resolve) => {
      process.later(typicalMs * (0.3 + process.world.random.next() * 2), '', resolve);
    });
  return {
    get: (key) => store.get(key),
    range: (range) => store.range(range),
    watch: (prefix, listener) => store.watch(prefix, listener),
    close: async () => {},
    async transact(transaction: StoreTransaction): Promise<StoreOutcome> {
      await wait(0.3);
      const outcome = await store.transact(transaction);
      await wait(0.1);
      return outcome;
    },
  };
}

const VERSION_CALLS: Partial<Record<MethodName, 'change' | 'ask' | 'refuse' | 'clone'>> = {
  'mds.changeVersions': 'change',
  'mds.askChange': 'ask',
  'mds.refuseChange': 'refuse',
  'mds.clone': 'clone',
};

function handlerOf(mds: Mds, method: MethodName): (params: unknown, caller: object) => Promise<unknown> {
  const version = VERSION_CALLS[method];
  if (method === 'mds.reportObjects') return (params) => mds.collect.report(params as never);
  const plain = method.slice('mds.'.length);
  const [owner, name] =
    version !== undefined ? [mds.versions, version] : [plain in mds ? mds : mds.moves, plain];
  return (owner[name as never] as (params: unknown, caller: object) => Promise<unknown>).bind(owner);
}

/** A standing connection to the MDS, made again when lost: what ControlLink is to a client. */
export class MdsLink {
  /** Told before a call is sent. */
  onAsked: (method: MethodName, params: unknown) => void = () => {};
  /** The change of the set with which a loss is recorded was answered. */
  onLossAnswered: () => void = () => {};
  private readonly watchers = new Set<(connected: boolean) => void>();
  private readonly world: World;
  private readonly network: Network;
  private readonly from: SimProcess;
  private readonly node: MdsNode;
  private pipe: Pipe | null = null;
  private connecting: Promise<Pipe> | null = null;
  private readonly told = new Set<(name: string, params: unknown) => void>();
  private failers = new Set<(error: RawstorError) => void>();

  constructor(world: World, network: Network, from: SimProcess, node: MdsNode) {
    this.world = world;
    this.network = network;
    this.from = from;
    this.node = node;
  }

  async call<M extends MethodName>(method: M, params: Params<M>, timeoutMs = 10_000): Promise<Result<M>> {
    const sent = structuredClone(params);
    const loss = method === 'mds.changeMembers' && (sent as Params<'mds.changeMembers'>).loss;
    this.onAsked(method, sent);
    const pipe = await this.connected();
    const { mds } = this.node;
    return new Promise((resolve, reject) => {
      const fail = (error: RawstorError) => {
        this.failers.delete(fail);
        reject(error);
      };
      this.failers.add(fail);
      this.from.later(timeoutMs, '', () => fail(new RawstorError('TIMEOUT', method)));
      pipe.send(0, `${method} ${summary(sent)}`, () => {
        if (mds === null) return;
        handlerOf(mds, method)(sent, pipe).then(
          (value) =>
            pipe.send(1, `${method} answered`, () => {
              this.failers.delete(fail);
              if (loss) this.onLossAnswered();
              resolve(structuredClone(value) as Result<M>);
            }),
          (error) => pipe.send(1, `${method} refused`, () => fail(asRawstorError(error))),
        );
      });
    });
  }

  async callUntilAnswered<M extends MethodName>(
    method: M,
    params: Params<M>,
    giveUp: () => boolean,
    decides: readonly string[] = [],
  ): Promise<Result<M>> {
    for (;;) {
      try {
        return await this.call(method, params, 5000);
      } catch (error) {
        const failure = asRawstorError(error);
        const unanswered = ['UNAVAILABLE', 'TIMEOUT', 'CONNECTION_LOST', 'LIMIT', 'BUSY'];
        if (!unanswered.includes(failure.code) || decides.includes(failure.code) || giveUp()) throw failure;
        this.world.count('callsAskedAgain');
        await this.from.clock.sleep(200);
      }
    }
  }

  watch(changed: (connected: boolean) => void): () => void {
    this.watchers.add(changed);
    return () => void this.watchers.delete(changed);
  }

  onEvent(told: (name: string, params: unknown) => void): () => void {
    this.told.add(told);
    return () => void this.told.delete(told);
  }

  close(): void {
    this.pipe?.close(0);
  }

  private async connected(): Promise<Pipe> {
    if (this.pipe !== null) return this.pipe;
    this.connecting ??= this.connect().finally(() => {
      this.connecting = null;
    });
    return this.connecting;
  }

  private async connect(): Promise<Pipe> {
    await roundTrip(this.network, this.from, this.node.name, CONNECT_TIMEOUT_MS);
    const { process, mds } = this.node;
    if (process === null || !process.alive || mds === null) {
      throw new RawstorError('UNAVAILABLE', 'connection refused', { where: this.node.name });
    }
    const pipe = this.network.connect(this.from, process);
    pipe.ends[0].onClosed = () => {
      this.pipe = null;
      const error = new RawstorError('CONNECTION_LOST', 'the connection to the MDS ended');
      for (const fail of [...this.failers]) fail(error);
      for (const watcher of [...this.watchers]) watcher(false);
    };
    pipe.ends[1].onClosed = () => mds.lost(pipe);
    this.node.listeners.set(pipe, (name, params) => {
      for (const told of [...this.told]) told(name, params);
    });
    this.pipe = pipe;
    for (const watcher of [...this.watchers]) watcher(true);
    return pipe;
  }
}

/** For traces: what is wished of the set. */
function summary(params: unknown): string {
  const { members, loss } = params as Partial<Params<'mds.changeMembers'>>;
  if (members === undefined) return '';
  return `${members.map((m) => `${m.ostId.at(-1)}:${m.state}:${m.bootId?.generation}`).join(' ')} ${loss ? 'LOSS' : ''}`;
}
