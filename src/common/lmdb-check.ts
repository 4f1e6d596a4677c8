import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { RawstorError } from './errors.js';

/**
 * Touches every page that a key or a value lies on, then writes the first record once more as it is: a commit
 * reads the list of free pages, which no reader comes to. It runs in a process of its own, because LMDB maps the
 * file: a page that is not there ends the process by SIGBUS or SIGSEGV, which nothing in it can catch. A disk
 * that is full or read-only is no damage. Kept as text, so that it runs the same from source and from dist.
 * Arguments: path of the lmdb package, directory, names of the databases inside.
 */
const CHILD = `
const [, lmdb, path, ...names] = process.argv;
const { open } = require(lmdb);
const fs = require('node:fs');
// In the order of the file, which is many times as fast as in that of the keys where nothing of it is in memory.
function readAhead(file) {
  const fd = fs.openSync(file, 'r');
  const buffer = Buffer.allocUnsafe(4 << 20);
  if (fs.fstatSync(fd).size < require('node:os').freemem() / 2) while (fs.readSync(fd, buffer) > 0);
  fs.closeSync(fd);
}
let sum = 0;
function walk(db) {
  for (const { key, value } of db.getRange()) {
    for (let i = 0; i < key.length; i++) sum += key[i];
    for (let i = 0; i < value.length; i += 512) sum += value[i];
  }
}
function commit(db) {
  try {
    for (const { key, value } of db.getRange({ limit: 1 })) db.transactionSync(() => { db.put(key, value); });
  } catch (error) {
    if (!/no space|MDB_MAP_FULL|quota|read-only|permission/i.test(String(error && error.message))) throw error;
  }
}
// A sector that cannot be read may be of a page that nothing lies on: the walk judges.
try { readAhead(path + '/data.mdb'); } catch {}
try {
  const binary = { encoding: 'binary', keyEncoding: 'binary', cache: false };
  const root = open({ path, readOnly: true, maxDbs: names.length + 12, ...(names.length ? {} : binary) });
  if (names.length === 0) walk(root);
  for (const name of names) { const db = root.openDB({ name, ...binary }); if (db) walk(db); }
  root.close();
  if (names.length === 0) commit(open({ path, ...binary, overlappingSync: false, eventTurnBatching: false }));
  console.log(JSON.stringify({ ok: true, sum }));
  process.exit(0);
} catch (error) {
  console.log(JSON.stringify({ ok: false, message: String(error && error.message) }));
  process.exit(1);
}
`;

/** Nobody waits for less: 1 MiB/s. */
const SLOW_BYTES_PER_MS = 1049;

/** The error with the database's file as its place, where it tells of damage and of no place. */
export function inDatabase(error: unknown, directory: string): unknown {
  if (!(error instanceof RawstorError) || error.code !== 'BAD_DATA' || error.where !== undefined)
    return error;
  const { message, hint, cause } = error;
  return new RawstorError('BAD_DATA', message, { where: join(directory, 'data.mdb'), hint, cause });
}

export interface LmdbCheckOptions {
  /** Named databases to walk; none: the root database itself. */
  names?: readonly string[];
  timeoutMs?: number;
  /** What the reader of the error can do. */
  repair?: string;
}

/**
 * Checks that an LMDB environment can be opened and read through, before this process maps it. `directory`
 * holds data.mdb. A directory without one passes only when `mayBeNew`.
 *
 * @throws RawstorError BAD_DATA naming the file and the repair; UNAVAILABLE when the check itself cannot run
 */
export async function checkLmdb(
  directory: string,
  mayBeNew: boolean,
  options: LmdbCheckOptions = {},
): Promise<void> {
  const file = join(directory, 'data.mdb');
  const damaged = (what: string) =>
    new RawstorError('BAD_DATA', `the database is damaged: ${what}`, {
      where: file,
      hint: options.repair ?? `restore ${file} from a copy; it cannot be repaired in place`,
    });
  if (!existsSync(file)) {
    if (mayBeNew) return;
    throw damaged('data.mdb is missing');
  }
  if (statSync(file).size === 0) throw damaged('the file is empty');

  const lmdb = createRequire(import.meta.url).resolve('lmdb');
  const args = ['-e', CHILD, lmdb, directory, ...(options.names ?? [])];
  // No loaders of the parent: the child is plain JavaScript and should start fast.
  const environment = { ...process.env };
  delete environment.NODE_OPTIONS;
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'], env: environment });
  const timeoutMs = options.timeoutMs ?? checkTimeoutMs(statSync(file).size);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  let output = '';
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    if (output.length < 65_536) output += text;
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new RawstorError('UNAVAILABLE', 'cannot start the database check', { where: file, cause })),
    );
    child.once('close', (...result) => resolve(result));
  }).finally(() => clearTimeout(timer));

  if (code === 0 && output.includes('"ok":true')) return;
  if (signal === 'SIGKILL') {
    throw new RawstorError('UNAVAILABLE', `the database check did not end within ${timeoutMs} ms`, {
      where: file,
      hint: 'the disk may be very slow or failing: see the kernel log',
    });
  }
  if (signal !== null) throw damaged(`checking it ended by ${signal}`);
  throw damaged(messageOf(output) ?? `checking it failed with exit code ${code}`);
}

/** Of an OST it grows with the data: 2 GiB a TiB, which a disk may have to look for page by page. */
export function checkTimeoutMs(sizeBytes: number): number {
  return 300_000 + Math.ceil(sizeBytes / SLOW_BYTES_PER_MS);
}

function messageOf(output: string): string | null {
  try {
    const parsed = JSON.parse(output.trim().split('\n').at(-1) ?? '') as { message?: string };
    return parsed.message ?? null;
  } catch {
    return null;
  }
}
