import { SliceList } from '../../io/memory.js';
import { FileOp, type IoFile } from '../../io/types.js';

/** Makes a hole of a range of a file. @throws Error with the errno */
export function punchHole(file: IoFile, offset: number, lengthBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fileDone = (_op: FileOp, result: number) =>
      result < 0 ? reject(new Error(`holes cannot be punched: errno ${-result}`)) : resolve();
    const op = new FileOp({ fileDone }, new SliceList());
    op.fileOffset = offset;
    op.lengthBytes = lengthBytes;
    file.punch(op);
  });
}
