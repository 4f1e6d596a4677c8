import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { RawstorError } from '../common/errors.js';
import { openMdsDirectory } from './directory.js';
import { dumpPage } from './dump.js';

/** Of an MDS that is not running. @throws RawstorError NOT_FOUND, BUSY, BAD_DATA */
export async function dumpDirectory(path: string): Promise<{ clusterId: string; lines: string[] }> {
  // An empty one would become an MDS's.
  await access(join(path, 'rawstor-mds.json')).catch(() => {
    throw new RawstorError('NOT_FOUND', 'there is no MDS in this directory', { where: path });
  });
  const directory = await openMdsDirectory(path);
  try {
    const lines: string[] = [];
    let after: string | null = '';
    while (after !== null) {
      const page: { lines: string[]; next: string | null } = await dumpPage(directory.store, after);
      lines.push(...page.lines);
      after = page.next;
    }
    return { clusterId: directory.clusterId, lines };
  } catch (error) {
    throw directory.located(error);
  } finally {
    await directory.close();
  }
}
