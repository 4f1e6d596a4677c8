import type { ObjectRecord, VersionChange } from '../../src/protocol/index.js';

/** A change of a volume's versions that was asked for, and what it makes of what may be read. */
export interface PendingChange {
  readonly change: VersionChange;
  /** Of the volume when it was asked for. */
  readonly headVersion: number;
  /** Whether who asked may still get it done. */
  readonly over: () => boolean;
  /** It came about. */
  readonly done: () => void;
  /** It did not and will not: the old state is there. */
  readonly undone: () => void;
}

/** By the record, when nobody can bring it about any more. */
export function cameAbout(object: ObjectRecord, { change, headVersion }: PendingChange): boolean {
  const nameOf = (version: number) => object.snapshots.find((one) => one.version === version)?.name ?? null;
  switch (change.kind) {
    case 'snapshot':
      return object.snapshots.some((one) => one.name === change.name);
    case 'rollback':
      return object.headVersion > headVersion;
    case 'remove':
      return nameOf(change.version) === null;
    case 'resize':
      return object.sizeBytes === change.sizeBytes;
    case 'flattened':
      return object.parent === null;
    default:
      throw new Error(`nobody asks for '${change.kind}' here`);
  }
}
