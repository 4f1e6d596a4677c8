import { systemClock } from '../common/clock.js';
import { CatalogRecovery } from './catalog-recovery.js';
import { openMdsDirectory } from './directory.js';
import { dumpPage, eachPage } from './dump.js';

/** Takes lines of the dump of a cluster, a page at a time; none is empty, and the first has what is said of the catalog. */
export type TakesPage = (clusterId: string, lines: readonly string[]) => Promise<void>;

/** Of an MDS that is not running. @throws RawstorError NOT_FOUND, BUSY, BAD_DATA, what `take` throws */
export async function dumpDirectory(path: string, take: TakesPage): Promise<void> {
  const directory = await openMdsDirectory(path, undefined, true);
  try {
    const catalog = new CatalogRecovery(directory.store, systemClock);
    await catalog.start();
    const ask = (after: string) => dumpPage(directory.store, catalog, after);
    await eachPage(ask, (lines) => take(directory.clusterId, lines));
  } catch (error) {
    throw directory.located(error);
  } finally {
    await directory.close();
  }
}
