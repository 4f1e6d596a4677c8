import { statfsSync } from 'node:fs';

/** Less than one commit may take. */
const CUT_SHORT_BYTES = 1024 * 1024;

/**
 * Whether a commit of LMDB failed, by its message, because the disk is full. A write that the disk had only room for a part of
 * LMDB calls an I/O error; the transaction is given up as a whole either way.
 */
export function isDiskFull(message: string, directory: string): boolean {
  if (/no space|ENOSPC|MDB_MAP_FULL|quota/i.test(message)) return true;
  if (!/input\/output error|EIO/i.test(message)) return false;
  const { bfree, bsize } = statfsSync(directory);
  return bfree * bsize < CUT_SHORT_BYTES;
}
