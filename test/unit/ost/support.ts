import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach } from 'vitest';
import { systemClock } from '../../../src/common/clock.js';
import { codeOfWire, type ErrorCode, RawstorError } from '../../../src/common/errors.js';
import { LIMITS } from '../../../src/common/limits.js';
import { silentLogger } from '../../../src/common/log.js';
import { MiB } from '../../../src/common/units.js';
import { createIo, type Io } from '../../../src/io/index.js';
import { type RunningOst, type StartOstOptions, startOst } from '../../../src/ost/index.js';
import {
  ChunkOp,
  type MethodName,
  type ObjectRecord,
  Opcode,
  type OstPeer,
  type Params,
  RemotePeer,
  type Result,
  type Snapshot,
} from '../../../src/protocol/index.js';

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

export function atEnd(cleanUp: () => unknown): void {
  cleanUps.push(cleanUp);
}

export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'rawstor-ost-'));
  atEnd(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

export function openIo(): Io {
  const io = createIo({ poolBytes: 32 * MiB });
  atEnd(() => io.close());
  return io;
}

/** Readable ids: `testId(0x17)` ends in 17. */
export function testId(number: number): string {
  return `01900000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;
}

export function objectRecord(number: number, change: Partial<ObjectRecord> = {}): ObjectRecord {
  return {
    id: testId(number),
    name: `vol${number}`,
    mode: 'mutable',
    sizeBytes: 16 * MiB,
    chunkSizeBytes: 4 * MiB,
    replicas: 1,
    minReplicas: 1,
    stripeWidth: 1,
    failureDomain: 'host',
    onDegraded: 'pause',
    headVersion: 1,
    headOver: 0,
    snapshots: [],
    parent: null,
    map: { rule: 'fixed', pool: [], nearDomain: '', exceptions: [] },
    epoch: 1,
    lastSeal: 0,
    members: [],
    createdWallMs: 0,
    ...change,
  };
}

export function frozenVersion(version: number, over: number, name: string | null): Snapshot {
  return { version, over, name, sizeBytes: 16 * MiB, createdWallMs: 0, protected: false };
}

let sockets = 0;

/** An OST of this process; closed when the test ends. */
export async function start(io: Io, dir: string, change: Partial<StartOstOptions> = {}): Promise<RunningOst> {
  const listen = [`unix:${temporaryDirectory()}/${sockets++}.sock`];
  const ost = await startOst({ dir, listen, io, clock: systemClock, log: silentLogger, ...change });
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= ost.close();
    return closing;
  };
  atEnd(close);
  return { ...ost, close };
}

/** An OST that may be killed. */
export class OstProcess {
  readonly address: string;
  readonly child: ChildProcess;
  private readonly ended: Promise<unknown>;

  private constructor(child: ChildProcess, address: string, ended: Promise<unknown>) {
    this.child = child;
    this.address = address;
    this.ended = ended;
  }

  /** Fails with a ProcessEnd when it does not come up. */
  static async start(
    dir: string,
    env: Record<string, string> = {},
    by: readonly string[] = [],
  ): Promise<OstProcess> {
    const fixture = fileURLToPath(new URL('../../fixtures/ost-process.ts', import.meta.url));
    const address = `unix:${temporaryDirectory()}/ost.sock`;
    const [program, ...args] = [...by, process.execPath, '--import', 'tsx', fixture, dir, address];
    const child = spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    atEnd(() => child.kill('SIGKILL'));
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = once(child, 'close');
    const failed = ended.then(([code, signal]) => {
      throw new ProcessEnd(code, signal, said);
    });
    await Promise.race([once(child.stdout, 'data'), failed]);
    failed.catch(() => {});
    return new OstProcess(child, address, ended);
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async kill(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    this.child.kill(signal);
    await this.ended;
  }

  async end(): Promise<NodeJS.Signals | null> {
    await this.ended;
    return this.child.signalCode;
  }
}

export class ProcessEnd extends Error {
  readonly code: number | null;
  readonly signal: string | null;
  readonly said: string;
  constructor(code: number | null, signal: string | null, said: string) {
    super(`the process ended with ${code ?? signal}: ${said}`);
    this.code = code;
    this.signal = signal;
    this.said = said;
  }
}

/** What a data operation came to. */
export interface Outcome {
  /** OK, or the code of the error. */
  status: ErrorCode | 'OK';
  tag: number;
  bytes: Buffer;
}

/** One client: a connection, and a session on it. */
export class Writer {
  readonly peer: RemotePeer;
  handle = 0;
  epoch = 0;
  number = 0;
  /** Of what is written from now on; the session epoch after an attach. */
  tag = 0;
  private readonly io: Io;

  private constructor(io: Io, peer: RemotePeer) {
    this.io = io;
    this.peer = peer;
  }

  static async connect(io: Io, address: string): Promise<Writer> {
    const identity = { role: 'client' as const, clusterId: '', name: 'test' };
    const peer = await RemotePeer.connect(io, systemClock, identity, address, 5000);
    atEnd(() => peer.destroy());
    return new Writer(io, peer);
  }

  /** Over a peer of this process. */
  static over(io: Io, peer: OstPeer): Writer {
    return new Writer(io, peer as RemotePeer);
  }

  static async attach(
    io: Io,
    address: string,
    record: ObjectRecord,
    epoch: number,
    number = 1,
  ): Promise<Writer> {
    const writer = await Writer.connect(io, address);
    await writer.attach(record, epoch, number);
    return writer;
  }

  async attach(record: ObjectRecord, epoch: number, number: number): Promise<Result<'ost.attach'>> {
    const asked = { object: record, sessionEpoch: epoch, sessionNumber: number };
    const answer = await this.call('ost.attach', asked);
    Object.assign(this, { handle: answer.handle, epoch, number, tag: epoch });
    return answer;
  }

  call<M extends MethodName>(method: M, params: Params<M>): Promise<Result<M>> {
    return this.peer.call(method, params, 30_000);
  }

  write(chunk: number, offset: number, bytes: Buffer, change: Partial<ChunkOp> = {}): Promise<Outcome> {
    return this.run({ opcode: Opcode.WRITE, chunk, offset, length: bytes.length, ...change }, bytes);
  }

  read(chunk: number, offset: number, length: number, change: Partial<ChunkOp> = {}): Promise<Outcome> {
    return this.run({ opcode: Opcode.READ, chunk, offset, length, ...change }, null);
  }

  erase(chunk: number, offset: number, length: number, opcode: number = Opcode.ERASE): Promise<Outcome> {
    return this.run({ opcode, chunk, offset, length }, null);
  }

  flush(): Promise<Outcome> {
    return this.run({ opcode: Opcode.FLUSH }, null);
  }

  /** Every region epoch here that is at least `since`, by `chunk/region`. */
  async regions(since = 1): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    let from: { chunk: number; region: number } | null = null;
    do {
      const page: Result<'ost.regions'> = await this.call('ost.regions', {
        handle: this.handle,
        since,
        from,
      });
      for (let i = 0; i < page.rows.length; i += 3) {
        found.set(`${page.rows[i]}/${page.rows[i + 1]}`, page.rows[i + 2]!);
      }
      from = page.next;
    } while (from !== null);
    return found;
  }

  run(fields: Partial<ChunkOp>, bytes: Buffer | null): Promise<Outcome> {
    return new Promise((resolve) => {
      const op = new ChunkOp({
        chunkDone: () => {
          const got =
            buffer === null ? '' : buffer.memory.bytes.subarray(buffer.offset, buffer.offset + op.length);
          const outcome = Buffer.from(got);
          buffer?.release();
          resolve({ status: op.status === 0 ? 'OK' : codeOfWire(op.status), tag: op.tag, bytes: outcome });
        },
      });
      const { handle, tag } = this;
      Object.assign(op, { handle, tag, sessionEpoch: this.epoch, sessionNumber: this.number, ...fields });
      const carries = op.opcode === Opcode.READ || op.opcode === Opcode.WRITE;
      const buffer = carries ? this.io.pool.acquire(Math.min(op.length, MiB)) : null;
      if (carries && buffer === null) throw new Error('the pool of the test is used up');
      if (buffer !== null) {
        bytes?.copy(buffer.memory.bytes, buffer.offset);
        op.slices.add(buffer.memory, buffer.offset, Math.min(op.length, MiB));
      }
      this.peer.submit(op);
    });
  }
}

/** Of an object whose head is version 2, over a frozen version 1: the first block is 1s of that one, the second 2s of the head. */
export async function overSnapshot(io: Io, address: string, record: ObjectRecord): Promise<Writer> {
  const before = { ...record, epoch: 1, headVersion: 1, headOver: 0, snapshots: [] };
  const writer = await Writer.attach(io, address, before, 5);
  const block = LIMITS.blockBytes;
  await writer.write(0, 0, Buffer.alloc(block, 1), { chunkVersion: 1 });
  await writer.attach(record, record.epoch, 1);
  await writer.write(0, block, Buffer.alloc(block, 2), { chunkVersion: 2 });
  return writer;
}

/** Awaits a failure and answers it. */
export async function failure(code: ErrorCode, promise: Promise<unknown>): Promise<RawstorError> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RawstorError))
    throw new Error(`expected ${code}, got ${String(error ?? 'an answer')}`);
  if (error.code !== code) throw new Error(`expected ${code}, got ${error.toUserText()}`, { cause: error });
  return error;
}

/** Waits for something that happens by itself; the test's time limit ends it. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(5);
}
