import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asRawstorError, RawstorError } from '../../common/errors.js';
import { MiB } from '../../common/units.js';
import type { Io, IoFile } from '../../io/types.js';
import { punchHole } from './punch.js';
import { LAYER_BLOCK_BYTES } from './zero-bits.js';

const NAME = 'holes-check';
const SIZE = 4 * MiB;
/** Where one block is written alone: nowhere near a round number. */
const BLOCK_AT = MiB + 3 * LAYER_BLOCK_BYTES;

/**
 * What a version has is what its file system says is no hole (SEEK_DATA), so a directory whose file system tells of more than was
 * written would hide older versions behind zeros. A full one cannot be tried, and has been when it was begun.
 * @throws RawstorError NOT_SUPPORTED when holes are not told exactly, or the system's
 */
export async function checkExactHoles(io: Io, directory: string): Promise<void> {
  const path = join(directory, NAME);
  try {
    const file = await io.openFile(path, { create: true });
    try {
      await tryHoles(file, path);
    } finally {
      await file.close();
    }
  } catch (error) {
    const told = asRawstorError(error, path);
    if (told.code !== 'NO_SPACE') throw told;
  } finally {
    await rm(path, { force: true });
  }
}

async function tryHoles(file: IoFile, path: string): Promise<void> {
  const writer = await open(path, 'r+');
  try {
    await writer.truncate(SIZE);
    await writer.write(Buffer.alloc(LAYER_BLOCK_BYTES, 1), 0, LAYER_BLOCK_BYTES, BLOCK_AT);
    checkOneBlock(file, 'after a write');
    await writer.datasync();
    checkOneBlock(file, 'after a flush');
    await writer.write(Buffer.alloc(2 * LAYER_BLOCK_BYTES, 1), 0, 2 * LAYER_BLOCK_BYTES, BLOCK_AT);
    await punchHole(file, BLOCK_AT + LAYER_BLOCK_BYTES, LAYER_BLOCK_BYTES);
    checkOneBlock(file, 'after a hole was punched');
  } finally {
    await writer.close();
  }
}

function checkOneBlock(file: IoFile, when: string): void {
  const data = file.seekData(0);
  const hole = data < SIZE ? file.seekHole(data) : SIZE;
  if (data === BLOCK_AT && hole === BLOCK_AT + LAYER_BLOCK_BYTES) return;
  throw new RawstorError(
    'NOT_SUPPORTED',
    `the file system does not tell what is written in a file: ${when}, of ${LAYER_BLOCK_BYTES} bytes at ${BLOCK_AT} it shows ` +
      `${data} to ${hole} as data`,
    {
      where: file.path,
      hint: 'snapshots would read as zeros there: use ext4, XFS or btrfs on a disk of its own',
    },
  );
}
