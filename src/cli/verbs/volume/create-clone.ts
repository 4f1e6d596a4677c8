import type { Cluster } from '../../../client/index.js';
import { RawstorError } from '../../../common/errors.js';
import type { ObjectInfo } from '../../../protocol/index.js';
import type { Context } from '../../context.js';
import { makeWhole } from '../../copy/partial-volume.js';
import { findVolume, noteUntold } from '../../volumes.js';
import { differing, type LayoutOptions } from './create.js';

/** A frozen version that a clone lies over. */
export interface Parent {
  readonly object: ObjectInfo;
  readonly version: number;
  readonly sizeBytes: number;
}

export interface CloneRequest {
  readonly name: string;
  /** As the user calls the parent. */
  readonly from: string;
  /** undefined: as the parent. */
  readonly sizeBytes: number | undefined;
  readonly layout: LayoutOptions;
  readonly parent: Parent;
}

/** What a clone may have otherwise than its parent. */
const OWN = new Set(['minReplicas', 'onDegraded']);

/** Of `create --from`, which has options for new volumes: only those that were given count. @throws RawstorError USAGE, EXISTS, ... */
export async function cloned(
  context: Context,
  cluster: Cluster,
  { name, from, sizeBytes, layout, parent }: CloneRequest,
): Promise<ObjectInfo> {
  const { given, timeout: timeoutMs } = context.globals;
  for (const { flag, key, wanted } of differing(parent.object, layout)) {
    if (!given.has(key) || OWN.has(key)) continue;
    throw new RawstorError('USAGE', `${from} does not lie with ${flag} ${wanted}, and a clone lies over it`, {
      where: name,
      hint: `leave ${flag} out, or copy it: export it, then rawstor-volume import it with ${flag} ${wanted}`,
    });
  }
  const { minReplicas, onDegraded } = layout;
  const policy = {
    ...(given.has('minReplicas') && { minReplicas }),
    ...(given.has('onDegraded') && { onDegraded }),
  };
  const make = async (called: string) => {
    const { object, version } = parent;
    const created = await cluster.cloneVolume(
      { ref: object.id, version, name: called, ...policy },
      timeoutMs,
    );
    noteUntold(context, created);
    return created.volume;
  };
  if (sizeBytes === undefined || sizeBytes === parent.sizeBytes) return make(name);
  // In two steps: it has its name when both are done.
  await checkUnused(context, cluster, name);
  return makeWhole(context, cluster, {
    name,
    resume: false,
    sizeBytes,
    make,
    checkLeft: () => {},
    fill: async ({ id }) => {
      await cluster.changeVolume(id, { kind: 'resize', sizeBytes }, { timeoutMs });
    },
  });
}

/** Known before work is done for a new volume, not after it. @throws RawstorError EXISTS */
export async function checkUnused(context: Context, cluster: Cluster, name: string): Promise<void> {
  if ((await findVolume(cluster, name, context.globals.timeout)) === null) return;
  throw new RawstorError('EXISTS', 'there is a volume of that name', {
    where: name,
    hint: 'choose another name',
  });
}
