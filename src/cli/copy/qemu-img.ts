import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type ErrorCode, RawstorError } from '../../common/errors.js';
import { HEAD_BYTES } from './named-files.js';

/**
 * Runs qemu-img and gives its stdout. `passing`: exit codes that are no failure.
 * @throws RawstorError UNAVAILABLE when it is not installed, NO_SPACE, DENIED, ... BAD_DATA with its own words when it fails
 */
export async function qemuImg(
  args: readonly string[],
  options: { signal: AbortSignal; onPercent?: (percent: number) => void; passing?: readonly number[] },
): Promise<string> {
  const { signal, onPercent, passing = [0] } = options;
  signal.throwIfAborted();
  const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  // In a group of its own, so that Ctrl-C reaches it by us: its partner here must go on until it has ended.
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (onPercent === undefined) stdout += text;
    const percent = /\((\d+(?:\.\d+)?)\/100%\)\s*$/.exec(text)?.[1];
    if (percent !== undefined) onPercent?.(Number(percent));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-4000);
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.on('error', (error) => reject(notInstalled(error)));
      child.on('close', resolve);
    });
    signal.throwIfAborted();
    if (code !== null && passing.includes(code)) return stdout;
  } finally {
    signal.removeEventListener('abort', stop);
  }
  const said = stderr.trim().replace(/^qemu-img: /, '');
  throw new RawstorError(codeOf(said), `qemu-img failed: ${said || 'it said nothing'}`);
}

/** qemu-img has one exit code for all; what it says tells more. */
function codeOf(said: string): ErrorCode {
  if (/No space left on device|Disk quota exceeded/.test(said)) return 'NO_SPACE';
  if (/Permission denied/.test(said)) return 'DENIED';
  if (/Read-only file system/.test(said)) return 'READ_ONLY';
  if (/Unknown (driver|file format)/.test(said)) return 'USAGE';
  // Of NBD servers.
  if (/Failed to connect|address resolution failed|timed out/i.test(said)) return 'UNAVAILABLE';
  if (/Requested export not available|export .*not (found|present|available)/i.test(said)) return 'NOT_FOUND';
  if (/No valid URL|Invalid URI/i.test(said)) return 'USAGE';
  return 'BAD_DATA';
}

function notInstalled(error: Error): RawstorError {
  return new RawstorError('UNAVAILABLE', 'qemu-img cannot be run', {
    hint: 'install it (Debian: qemu-utils); raw images need none',
    cause: error,
  });
}

/** To copy a raw image out: qemu-img's own cache mode for what it writes is unsafe, which promises no flush. */
export function exportArgs(format: string, from: string, to: string, more: readonly string[] = []): string[] {
  return ['convert', '-p', ...more, '-t', 'writeback', '-f', 'raw', '-O', format, from, to];
}

/** URI of an export, as NBD programs take it. */
export function isNbdUri(text: string): boolean {
  return /^nbds?(\+unix|\+tcp)?:\/\//.test(text);
}

/** An image as qemu-img is to be told of it: nothing in a file's name is taken for one of its protocols. */
export const nameForQemu = (image: string): string => (isNbdUri(image) ? image : resolve(image));

export interface Image {
  readonly path: string;
  readonly format: string;
  /** Other files that it names may be read. */
  readonly backing: boolean;
}

const WITH_BACKING = ['qcow', 'qcow2', 'qed'];

/** An image to read. One that was looked at may be another by now: no backing file is opened all the same. */
export function imageArgs({ path, format, backing }: Image): string[] {
  const name = nameForQemu(path);
  if (backing || !WITH_BACKING.includes(format)) return ['-f', format, name];
  return [`json:${JSON.stringify({ driver: format, backing: null, 'file.filename': name })}`];
}

/** Size of the disk inside an image. */
export async function virtualSizeBytes(image: Image, signal: AbortSignal): Promise<number> {
  const { path } = image;
  const text = await qemuImg(['info', '--output=json', ...imageArgs(image)], { signal });
  const size = (JSON.parse(text) as { 'virtual-size'?: number })['virtual-size'];
  if (typeof size === 'number') return size;
  throw new RawstorError('BAD_DATA', 'qemu-img tells no size of this image', { where: path });
}

/** First bytes of an export, as they are. */
export async function headOf(uri: string, signal: AbortSignal): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'rawstor-'));
  const file = join(directory, 'head');
  try {
    const much = ['count=1', `bs=${HEAD_BYTES}`];
    await qemuImg(['dd', '-f', 'raw', '-O', 'raw', ...much, `if=${uri}`, `of=${file}`], { signal });
    return await readFile(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Exit codes of `qemu-img check`: corruptions were found; leaked clusters only; a format without checks. */
const CORRUPT = 2;
const LEAKS = 3;
const NO_CHECK = 63;

/**
 * Refuses an image whose tables are damaged or point past the end of its file: QEMU reads what is cut off as zeros,
 * so that copying it would succeed. @throws RawstorError BAD_DATA
 */
export async function checkImage(image: Image, signal: AbortSignal): Promise<void> {
  const { path } = image;
  const passing = [0, CORRUPT, LEAKS, NO_CHECK];
  const text = await qemuImg(['check', '--output=json', ...imageArgs(image)], { signal, passing });
  // A format without checks answers nothing.
  if (text.trim() === '') return;
  const { corruptions = 0 } = JSON.parse(text) as { corruptions?: number };
  if (corruptions === 0) return;
  throw new RawstorError(
    'BAD_DATA',
    `the image is damaged or cut short: ${corruptions} errors in its tables`,
    {
      where: path,
      hint: `get it again, compare its size with the source's; 'qemu-img check ${path}' lists the errors`,
    },
  );
}
