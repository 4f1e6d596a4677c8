import { sectorCeil, sectorFloor } from './sectors.js';

/** What is behind the end of a file that is open for writing: it has to be zeros before it belongs to the file. */
export class DirtyEnd {
  /** There may be something else than zeros, up to the end of the file's last sector or further. */
  toBytes = 0;
  private readonly file: { readonly sizeBytes: number };

  constructor(file: { readonly sizeBytes: number }) {
    this.file = file;
  }

  reaches(endBytes: number): void {
    this.toBytes = Math.max(this.toBytes, sectorCeil(endBytes));
  }

  /** Who writes up to there has zeros written before. */
  zeroesFor(endBytes: number): boolean {
    return endBytes > this.file.sizeBytes && this.toBytes > 0;
  }

  /**
   * The range that is locked for a write: where it lies past the end, what has to be zeroed before is part of it. May be larger by the
   * time that it is granted.
   */
  lockStart(from: number, to: number): number {
    return sectorFloor(this.zeroesFor(to) ? Math.min(from, this.file.sizeBytes) : from);
  }

  lockEnd(to: number): number {
    return this.zeroesFor(to) ? Math.max(sectorCeil(to), this.toBytes) : sectorCeil(to);
  }
}
