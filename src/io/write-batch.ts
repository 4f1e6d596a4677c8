import { assert } from '../common/assert.js';
import { loadNative } from '../native/index.js';
import type { FileOp } from './types.js';

const ROW = 4;
const FIRST_ROWS = 1024;

/**
 * Buffered writes of a turn, done with one native call: through the ring ext4 punts them to kernel workers,
 * which halves their speed.
 */
export class WriteBatch {
  private readonly native = loadNative();
  private rows = new Float64Array(FIRST_ROWS * ROW);
  private rowCount = 0;
  private ops: FileOp[] = [];
  /** First row of each operation; -1 for one without bytes. */
  private firstRows: number[] = [];
  private spareOps: FileOp[] = [];
  private spareFirstRows: number[] = [];
  private spareRows = new Float64Array(FIRST_ROWS * ROW);

  get pending(): boolean {
    return this.ops.length > 0;
  }

  add(fd: number, op: FileOp): void {
    const { slices } = op;
    const first = this.rowCount;
    if ((first + slices.count) * ROW > this.rows.length) this.grow(first + slices.count);
    const rows = this.rows;
    let count = 0;
    for (let i = 0; i < slices.count; i++) {
      const length = slices.length[i]!;
      if (length === 0) continue;
      const memory = slices.memory[i]!;
      assert(memory.address !== 0, 'write from memory that is not mapped');
      const at = (first + count) * ROW;
      rows[at] = fd;
      rows[at + 1] = memory.address + slices.offset[i]!;
      rows[at + 2] = length;
      rows[at + 3] = count === 0 ? op.fileOffset : -1;
      count++;
    }
    this.rowCount = first + count;
    this.ops.push(op);
    this.firstRows.push(count === 0 ? -1 : first);
  }

  /** Writes all that was added, then tells the owners; what they add meanwhile waits for the next flush. */
  flush(): void {
    const { ops, firstRows, rows } = this;
    if (this.rowCount > 0) this.native.pwriteBatch(rows, this.rowCount);
    this.ops = this.spareOps;
    this.firstRows = this.spareFirstRows;
    this.rows = this.spareRows;
    this.rowCount = 0;
    let told = 0;
    try {
      while (told < ops.length) {
        const op = ops[told]!;
        const row = firstRows[told]!;
        told++;
        op.owner.fileDone(op, row < 0 ? 0 : rows[row * ROW]!);
      }
    } finally {
      if (told === ops.length) {
        ops.length = 0;
        firstRows.length = 0;
        this.spareOps = ops;
        this.spareFirstRows = firstRows;
        this.spareRows = rows;
      } else {
        this.keepUntold(ops, firstRows, rows, told);
      }
    }
  }

  // An owner threw: the others are told each in a turn of its own.
  private keepUntold(ops: FileOp[], firstRows: number[], rows: Float64Array, told: number): void {
    this.spareOps = [];
    this.spareFirstRows = [];
    this.spareRows = new Float64Array(FIRST_ROWS * ROW);
    for (let i = told; i < ops.length; i++) {
      const op = ops[i]!;
      const row = firstRows[i]!;
      const result = row < 0 ? 0 : rows[row * ROW]!;
      setImmediate(() => op.owner.fileDone(op, result));
    }
  }

  private grow(rowCount: number): void {
    const larger = new Float64Array(Math.max(this.rows.length * 2, rowCount * ROW));
    larger.set(this.rows);
    this.rows = larger;
  }
}
