import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomic } from '../common/atomic-file.js';
import { makeDirectory } from '../common/directories.js';
import { asRawstorError } from '../common/errors.js';
import { checkClusterId, readIdentityFile, writeIdentityFile } from '../common/identity-file.js';
import { newId } from '../common/ids.js';
import type { Logger } from '../common/log.js';
import { type DirectoryLock, lockDirectory } from '../io/index.js';
import { serverInfoSchema } from '../protocol/index.js';
import type { RememberedServer } from './registry.js';

const ROLE = 'mgs';
const SERVERS_FILE = 'servers.json';

const serversSchema = z.object({
  format: z.literal(1),
  servers: z.array(z.object({ info: serverInfoSchema, lastSeenWallMs: z.number() })),
});

/**
 * An MGS's directory: its identity, and the servers it knew. The latter is a convenience (servers report
 * anew within seconds), so damage to it costs a warning, not the start.
 */
export class MgsDirectory {
  readonly serverId: string;
  clusterId: string;
  private readonly path: string;
  private readonly lock: DirectoryLock;

  private constructor(path: string, lock: DirectoryLock, clusterId: string, serverId: string) {
    this.path = path;
    this.lock = lock;
    this.clusterId = clusterId;
    this.serverId = serverId;
  }

  /** @throws RawstorError BUSY, CONFIG, BAD_DATA, VERSION, or the system's */
  static async open(path: string, wanted?: string): Promise<MgsDirectory> {
    try {
      makeDirectory(path);
    } catch (error) {
      throw asRawstorError(error, path);
    }
    const lock = lockDirectory(path);
    try {
      const repair = 'remove the file: the MGS learns its cluster anew from its servers';
      const options = { role: ROLE, ownNames: [SERVERS_FILE, `${SERVERS_FILE}.tmp`], repair };
      const identity = await readIdentityFile(path, options);
      checkClusterId(wanted, identity?.clusterId ?? '', path);
      const clusterId = identity?.clusterId || (wanted ?? '');
      const serverId = identity?.serverId ?? newId();
      if (identity?.clusterId !== clusterId) await writeIdentityFile(path, ROLE, { clusterId, serverId });
      return new MgsDirectory(path, lock, clusterId, serverId);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** From now on servers of other clusters are refused. */
  async adopt(clusterId: string): Promise<void> {
    this.clusterId = clusterId;
    await writeIdentityFile(this.path, ROLE, { clusterId, serverId: this.serverId });
  }

  async readServers(log: Logger): Promise<RememberedServer[]> {
    const file = join(this.path, SERVERS_FILE);
    let text: string;
    try {
      text = await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      // It may be whole: a rebuild of the metadata counts on the OSTs in it.
      throw asRawstorError(error, file);
    }
    try {
      return serversSchema.parse(JSON.parse(text)).servers;
    } catch (error) {
      const aside = `${file}.bad`;
      log.warn(
        { err: error, file, aside },
        'the list of servers is damaged: set aside, servers will report anew',
      );
      await rename(file, aside).catch(() => {});
      return [];
    }
  }

  async writeServers(servers: readonly RememberedServer[]): Promise<void> {
    await writeFileAtomic(
      join(this.path, SERVERS_FILE),
      `${JSON.stringify({ format: 1, servers })}\n`,
      0o600,
    );
  }

  close(): void {
    this.lock.release();
  }
}
