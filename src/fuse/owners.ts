import { RawstorError } from '../common/errors.js';
import { FileType, SetAttr } from './constants.js';
import type { Place } from './nodes.js';
import type { SetAttrIn } from './requests.js';

export interface OwnerOptions {
  readonly uid: number;
  readonly gid: number;
  /** Permissions of files, and of directories: without the type. */
  readonly mode: number;
  readonly directoryMode: number;
}

interface Changed {
  mode?: number;
  uid?: number;
  gid?: number;
}

/** Files whose owner or permissions were changed. */
const CHANGED_MAX = 65536;
const PERMISSIONS = 0o7777;

/**
 * To whom files belong and what may be done with them: as the options of the mount say, and as chmod(2) and chown(2) have changed it
 * since. That is forgotten with the mount: volumes belong to the cluster.
 */
export class Owners {
  private readonly options: OwnerOptions;
  private readonly changed = new Map<string, Changed>();

  constructor(options: OwnerOptions) {
    this.options = options;
  }

  of(place: Place): { mode: number; uid: number; gid: number } {
    const { uid, gid, mode, directoryMode } = this.options;
    switch (place.kind) {
      case 'root':
        return { uid, gid, mode: FileType.DIRECTORY | directoryMode };
      case 'snapshots':
        return { uid, gid, mode: FileType.DIRECTORY | (directoryMode & ~0o222) };
      case 'snapshot':
      case 'volume': {
        // Who may not read a file may not read what it was.
        const changed = this.changed.get(place.id);
        const permissions = changed?.mode ?? mode;
        return {
          uid: changed?.uid ?? uid,
          gid: changed?.gid ?? gid,
          mode: FileType.REGULAR | (place.kind === 'snapshot' ? permissions & ~0o222 : permissions),
        };
      }
    }
  }

  /** @throws RawstorError LIMIT */
  change(id: string, { valid, mode, uid, gid }: SetAttrIn): void {
    const changed = { ...this.changed.get(id) };
    if ((valid & SetAttr.MODE) !== 0) changed.mode = mode & PERMISSIONS;
    if ((valid & SetAttr.UID) !== 0) changed.uid = uid;
    if ((valid & SetAttr.GID) !== 0) changed.gid = gid;
    if (!this.changed.has(id) && this.changed.size >= CHANGED_MAX) {
      throw new RawstorError('LIMIT', `owners of ${CHANGED_MAX} files were changed already`);
    }
    this.changed.set(id, changed);
  }

  forget(id: string): void {
    this.changed.delete(id);
  }
}
