import { formatSizeBytes } from '../common/units.js';

export interface ProgressTarget {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const BAR_WIDTH = 24;
const REDRAW_MS = 100;

/** One line on a terminal, redrawn in place; nothing at all elsewhere. */
export class Progress {
  private readonly target: ProgressTarget;
  private readonly shown: boolean;
  private readonly label: string;
  private readonly totalBytes: number;
  private readonly nowMs: () => number;
  private readonly startMs: number;
  private lastDrawMs = Number.NEGATIVE_INFINITY;
  private drawn = false;

  constructor(
    target: ProgressTarget,
    wanted: boolean,
    label: string,
    totalBytes: number,
    nowMs: () => number = () => performance.now(),
  ) {
    this.target = target;
    this.shown = wanted && target.isTTY === true;
    this.label = label;
    this.totalBytes = totalBytes;
    this.nowMs = nowMs;
    this.startMs = nowMs();
  }

  update(doneBytes: number): void {
    if (!this.shown) return;
    const now = this.nowMs();
    if (now - this.lastDrawMs < REDRAW_MS) return;
    this.lastDrawMs = now;
    this.drawn = true;
    const line = progressLine(this.label, doneBytes, this.totalBytes, (now - this.startMs) / 1000);
    this.target.write(`\r\x1b[K${line.slice(0, Math.max(20, (this.target.columns ?? 80) - 1))}`);
  }

  /** For work that is counted in pieces whose number grows. */
  units({ done, total }: { done: number; total: number }): void {
    if (!this.shown) return;
    this.drawn = true;
    const line = `${this.label}  ${done} of ${total} regions copied`;
    this.target.write(`\r\x1b[K${line.slice(0, Math.max(20, (this.target.columns ?? 80) - 1))}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.drawn) this.target.write('\r\x1b[K');
    this.drawn = false;
  }
}

export function progressLine(label: string, doneBytes: number, totalBytes: number, seconds: number): string {
  const part = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
  const filled = Math.round(part * BAR_WIDTH);
  const bar = '#'.repeat(filled) + '.'.repeat(BAR_WIDTH - filled);
  const rate = seconds > 0 ? doneBytes / seconds : 0;
  const left = rate > 0 ? (totalBytes - doneBytes) / rate : Number.NaN;
  const percent = String(Math.floor(part * 100)).padStart(3);
  const sizes = `${formatSizeBytes(doneBytes)} of ${formatSizeBytes(totalBytes)}`;
  return `${label} [${bar}] ${percent} %  ${sizes}  ${formatSizeBytes(Math.round(rate))}/s  ${clockText(left)}`;
}

/** Seconds left as m:ss or h:mm:ss. */
function clockText(seconds: number): string {
  if (!Number.isFinite(seconds)) return '';
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, at) => (at === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}
