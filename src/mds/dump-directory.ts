import { systemClock } from '../common/clock.js';
import { CatalogRecovery } from './catalog-recovery.js';
import { openMdsDirectory } from './directory.js';
import { dumpPage } from './dump.js';

/** Of an MDS that is not running. @throws RawstorError NOT_FOUND, BUSY, BAD_DATA */
export async function dumpDirectory(path: string): Promise<{ clusterId: string; lines: string[] }> {
  const directory = await openMdsDirectory(path, undefined, true);
  try {
    const catalog = new CatalogRecovery(directory.store, systemClock);
    await catalog.start();
    const lines: string[] = [];
    let after: string | null = '';
    while (after !== null) {
      const page: { lines: string[]; next: string | null } = await dumpPage(directory.store, catalog, after);
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
