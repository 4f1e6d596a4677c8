import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { RawstorError } from '../../src/common/errors.js';
import { compile } from '../compile.js';

const SOURCES = ['floor.c', '../load/histogram.c'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
);
const FILE_BYTES = 256 * 2 ** 20;
const PIECE_BYTES = 4096;

export interface Floor {
  name: string;
  count: number;
  meanUs: number;
  p50Us: number;
  p99Us: number;
  /** CPU of the server's side, or of the file operation. */
  cpuUs: number;
}

/**
 * What the kernel alone takes: bare echoes over sockets, bare file operations.
 * @param cpus of the server's and the client's side
 * @throws RawstorError UNAVAILABLE, IO
 */
export async function measureFloors(dir: string, seconds: number, cpus?: [number, number]): Promise<Floor[]> {
  await mkdir(dir, { recursive: true });
  const scratch = await mkdtemp(join(dir, 'floors-'));
  try {
    const program = join(scratch, 'floor');
    await compile(program, SOURCES).catch((error: Error) => {
      throw new RawstorError('UNAVAILABLE', `the program does not compile: ${error.message}`);
    });
    const path = join(scratch, 'disk.raw');
    await writeFileBlocks(path);
    const args = [path, join(scratch, 'echo.sock'), `${seconds}`, ...(cpus ?? []).map(String)];
    const { stdout } = await promisify(execFile)(program, args);
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Floor);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** In blocks of 4 KiB: a page cache of large folios makes small writes dearer. */
async function writeFileBlocks(path: string): Promise<void> {
  const block = randomBytes(PIECE_BYTES);
  const file = await open(path, 'wx');
  try {
    for (let at = 0; at < FILE_BYTES; at += PIECE_BYTES) await file.write(block, 0, PIECE_BYTES, at);
    await file.sync();
  } finally {
    await file.close();
  }
}
