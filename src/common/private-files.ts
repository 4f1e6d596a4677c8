import { chmodSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Logger } from './log.js';

/** What a process made before its files became private takes away from modes. */
let usualMask: number | null = null;

/**
 * From now on what this process makes is for its own user: what guests store, and secrets of access keys, are in files
 * of libraries too, whose modes nobody else can choose. What is meant for others is given back by `openAsUsual`.
 */
export function keepFilesPrivate(): void {
  usualMask ??= process.umask(0o077);
}

/** What was just made is for whom the process's own umask says: sockets, directories above those of servers. */
export function openAsUsual(path: string): void {
  if (usualMask !== null) chmodSync(path, 0o777 & ~usualMask);
}

/** Whether somebody besides the owner (and root) may come at what is in a directory. */
export function isOpenToOthers(directory: string): boolean {
  for (let at = resolve(directory); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o077) === 0) return false;
    if (dirname(at) === at) return true;
  }
}

/** The modes of a directory that is there are its owner's matter; that they show what is in it is worth a word. */
export function warnIfOpen(directory: string, log: Pick<Logger, 'warn'>): void {
  if (!isOpenToOthers(directory)) return;
  const mode = (statSync(directory).mode & 0o777).toString(8).padStart(4, '0');
  const hint = `chmod 700 ${directory}`;
  log.warn({ directory, mode, hint }, 'other users of this machine can read what is stored here');
}
