import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StartSubject } from '../types.js';
import { startCluster } from './cluster.js';

/** AES-256-XTS by the gateway, as LUKS by the peers. */
export const startRawstorEncrypted: StartSubject = async (options) => {
  const keyFile = join(options.dir, 'key');
  await writeFile(keyFile, randomBytes(64), { mode: 0o600 });
  const keys = ['--key-file', keyFile];
  return await startCluster('local', options, { serve: keys, create: ['--encrypt', ...keys] });
};
