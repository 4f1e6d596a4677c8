import { systemClock, type Timer } from './clock.js';
import { Histogram } from './histogram.js';

/**
 * Where the time of an operation goes, stage by stage, in this process. Off unless somebody looks: then a request
 * costs one look at `TRACE.on`, and each stage one at a field that is null. On, one operation in seven is followed.
 */
export const TRACE = { on: false };

export const TraceKind = { READ: 0, WRITE: 1, FLUSH: 2, OTHER: 3 } as const;
export type TraceKind = (typeof TraceKind)[keyof typeof TraceKind];

const KIND_NAMES = ['read', 'write', 'flush', 'other'] as const;
/** A prime, so that operations which take turns are all met. */
const SAMPLED = 7;
const STAGES_MAX = 5;
const SPANS_KEPT = 256;
/** A look that nobody follows ends after this, however long was asked for. */
export const TRACE_MAX_MS = 60_000;

export interface StageFigures {
  /** Whose: `nbd`, `vhost`, `ost`, ... */
  site: string;
  kind: (typeof KIND_NAMES)[number];
  stage: string;
  count: number;
  meanUs: number;
  p50Us: number;
  p99Us: number;
}

/** One operation's marks; reused. */
export class Span {
  private site: TraceSite;
  private kind: TraceKind = TraceKind.OTHER;
  private readonly atMs = new Float64Array(STAGES_MAX + 1);

  constructor(site: TraceSite) {
    this.site = site;
  }

  begin(site: TraceSite, kind: TraceKind): this {
    this.site = site;
    this.kind = kind;
    this.atMs.fill(0);
    this.atMs[0] = systemClock.nowMs();
    return this;
  }

  /** The stage before this mark has ended; where it is passed several times the last one counts. */
  mark(index: number): void {
    this.atMs[index] = systemClock.nowMs();
  }

  /** Adds it to the site's figures. A stage is counted where both of its marks were passed, the whole always. */
  end(): void {
    const { site, kind, atMs } = this;
    const last = site.stages.length;
    atMs[last] = systemClock.nowMs();
    for (let i = 0; i < last; i++) {
      if (atMs[i]! > 0 && atMs[i + 1]! > 0) site.record(kind, i, (atMs[i + 1]! - atMs[i]!) * 1000);
    }
    if (last > 1) site.record(kind, last, (atMs[last]! - atMs[0]!) * 1000);
    if (spare.length < SPANS_KEPT) spare.push(this);
  }
}

const spare: Span[] = [];
const sites: TraceSite[] = [];
let endTimer: Timer | null = null;

/** A place in the code that operations pass, and the stages they have there. */
export class TraceSite {
  readonly name: string;
  readonly stages: readonly string[];
  private histograms = new Map<number, Histogram>();
  private passed = 0;

  constructor(name: string, stages: readonly string[]) {
    this.name = name;
    this.stages = stages;
    sites.push(this);
  }

  /** Null for those that are not followed. To be asked only while `TRACE.on`. */
  begin(kind: TraceKind): Span | null {
    if (this.passed++ % SAMPLED !== 0) return null;
    return (spare.pop() ?? new Span(this)).begin(this, kind);
  }

  /** @param stage index of the stage; the number of stages means the whole */
  record(kind: TraceKind, stage: number, us: number): void {
    const key = kind * (STAGES_MAX + 1) + stage;
    let histogram = this.histograms.get(key);
    if (histogram === undefined) this.histograms.set(key, (histogram = new Histogram()));
    histogram.record(us);
  }

  /** Since the last time. */
  take(): StageFigures[] {
    const taken = [...this.histograms].sort(([a], [b]) => a - b);
    this.histograms = new Map();
    return taken.map(([key, histogram]) => ({
      site: this.name,
      kind: KIND_NAMES[Math.floor(key / (STAGES_MAX + 1))]!,
      stage: this.stages[key % (STAGES_MAX + 1)] ?? 'all of it',
      count: histogram.count,
      meanUs: histogram.meanUs,
      p50Us: histogram.quantileUs(0.5),
      p99Us: histogram.quantileUs(0.99),
    }));
  }
}

/** Follows operations for this long from now, and tells what was seen since the last time; 0 ends it. */
export function traceFor(forMs: number): StageFigures[] {
  const seen = sites.flatMap((site) => site.take());
  endTimer?.cancel();
  endTimer = null;
  TRACE.on = forMs > 0;
  if (TRACE.on) {
    endTimer = systemClock.after(Math.min(forMs, TRACE_MAX_MS), () => {
      TRACE.on = false;
    });
  }
  return seen;
}
