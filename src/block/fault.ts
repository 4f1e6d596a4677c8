import type { Clock } from '../common/clock.js';
import { type ErrorCode, RawstorError } from '../common/errors.js';
import type { Random } from '../common/random.js';
import type { BatchTask, Io } from '../io/types.js';
import type { BlockDevice, BlockOp, BlockRequest } from './device.js';
import { DeviceLayer } from './layer.js';

/** What goes wrong, and for which requests. The first rule that fits a request decides. */
export interface FaultRule {
  /** Only this operation; default all. */
  op?: BlockOp;
  /** Only requests that touch this range of the device. */
  range?: { offset: number; length: number };
  /** Lets this many fitting requests pass first. */
  skip?: number;
  /** Fits at most this often. */
  times?: number;
  /** Fits with this probability. */
  probability?: number;
  /** Waits before the request goes on, or before it fails. */
  delayMs?: number;
  /** Keeps the request until `release`. */
  hold?: boolean;
  /** Fails with this code instead of going on; the device below never sees the request. */
  error?: ErrorCode;
}

export interface FaultContext {
  io: Pick<Io, 'schedule'>;
  clock: Clock;
  random: Random;
}

/** A layer for tests that delays, holds or fails requests by rule. Rules may be changed at any time. */
export class FaultDevice extends DeviceLayer implements BatchTask {
  private readonly context: FaultContext;
  private rules: { rule: FaultRule; seen: number; hits: number }[] = [];
  private held: { request: BlockRequest; error: ErrorCode | undefined }[] = [];
  private failed: { request: BlockRequest; error: RawstorError }[] = [];
  private waiting = 0;
  private idle: (() => void) | null = null;

  constructor(inner: BlockDevice, context: FaultContext) {
    super(inner);
    this.context = context;
  }

  get heldCount(): number {
    return this.held.length;
  }

  setRules(...rules: FaultRule[]): void {
    this.rules = rules.map((rule) => ({ rule, seen: 0, hits: 0 }));
  }

  /** Lets the held requests go on, oldest first, or fail where their rule says so. */
  release(): void {
    const held = this.held;
    this.held = [];
    for (const { request, error } of held) this.goOn(request, error);
  }

  override submit(request: BlockRequest): void {
    const rule = this.ruleFor(request);
    if (rule === null) {
      this.inner.submit(request);
      return;
    }
    this.waiting++;
    if (rule.hold) this.held.push({ request, error: rule.error });
    else if (rule.delayMs === undefined) this.goOn(request, rule.error);
    else this.context.clock.after(rule.delayMs, () => this.goOn(request, rule.error));
  }

  runBatch(): void {
    const failed = this.failed;
    this.failed = [];
    for (const { request, error } of failed) request.owner.blockDone(request, error);
  }

  override async close(): Promise<void> {
    this.release();
    if (this.waiting > 0) {
      await new Promise<void>((resolve) => {
        this.idle = resolve;
      });
    }
    await this.inner.close();
  }

  private goOn(request: BlockRequest, error: ErrorCode | undefined): void {
    this.waiting--;
    if (error === undefined) this.inner.submit(request);
    else {
      const where = `operation ${request.op} at ${request.offset}`;
      this.failed.push({ request, error: new RawstorError(error, 'fault injected by a test', { where }) });
      this.context.io.schedule(this);
    }
    if (this.waiting === 0 && this.idle !== null) this.context.clock.after(0, this.idle);
  }

  private ruleFor(request: BlockRequest): FaultRule | null {
    for (const entry of this.rules) {
      const { rule } = entry;
      if (rule.op !== undefined && rule.op !== request.op) continue;
      if (rule.range !== undefined) {
        const end = rule.range.offset + rule.range.length;
        if (request.offset >= end || request.offset + request.length <= rule.range.offset) continue;
      }
      if (entry.seen++ < (rule.skip ?? 0)) continue;
      if (entry.hits >= (rule.times ?? Number.POSITIVE_INFINITY)) continue;
      if (rule.probability !== undefined && this.context.random.next() >= rule.probability) continue;
      entry.hits++;
      return rule;
    }
    return null;
  }
}
